//! An example of a policy module: commands run in office hours only, whoever asks. What they may use and how long they may run
//! is left to the policy file.

#[cfg(target_family = "wasm")]
mod component;

use serde::Deserialize;

const MINUTES_OF_A_DAY: i64 = 24 * 60;

/// The days of a week as they are configured; 1970-01-01 was a Thursday.
const DAYS: [&str; 7] = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];

/// When commands may run, in the user's own time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// `HH:MM`, included.
    from: String,
    /// `HH:MM`, not included; `24:00` is the end of a day.
    to: String,
    /// Some of `mon` `tue` `wed` `thu` `fri` `sat` `sun`; Monday to Friday if left out.
    #[serde(default = "workdays")]
    days: Vec<String>,
}

fn workdays() -> Vec<String> {
    ["mon", "tue", "wed", "thu", "fri"]
        .map(str::to_owned)
        .into()
}

impl Hours {
    /// Takes the configuration, or says where it is wrong and how.
    pub fn parse(document: &str) -> Result<Self, (String, String)> {
        let hours: Self =
            serde_json::from_str(document).map_err(|error| (String::new(), error.to_string()))?;
        for (place, time) in [("from", &hours.from), ("to", &hours.to)] {
            if minutes(time).is_none() {
                return Err((
                    place.to_owned(),
                    format!("{time} is no time of the form HH:MM"),
                ));
            }
        }
        if let Some((index, day)) = hours
            .days
            .iter()
            .enumerate()
            .find(|(_, day)| !DAYS.contains(&day.as_str()))
        {
            return Err((
                format!("days[{index}]"),
                format!("{day} is none of mon, tue, wed, thu, fri, sat, sun"),
            ));
        }
        Ok(hours)
    }

    /// Whether a moment lies in them: seconds since 1970-01-01 00:00 UTC, and the minutes by which local time is ahead.
    pub fn include(&self, unix_seconds: u64, utc_offset_minutes: i32) -> bool {
        let Ok(seconds) = i64::try_from(unix_seconds) else {
            return false;
        };
        let local = seconds
            .div_euclid(60)
            .saturating_add(i64::from(utc_offset_minutes));
        let day = DAYS[local.div_euclid(MINUTES_OF_A_DAY).rem_euclid(7) as usize];
        let minute = local.rem_euclid(MINUTES_OF_A_DAY);
        let (Some(from), Some(to)) = (minutes(&self.from), minutes(&self.to)) else {
            return false;
        };
        self.days.iter().any(|known| known == day) && (from..to).contains(&minute)
    }

    /// For people.
    pub fn shown(&self) -> String {
        format!("{} to {}, {}", self.from, self.to, self.days.join(" "))
    }
}

/// Minutes since midnight.
fn minutes(time: &str) -> Option<i64> {
    let (hours, minutes) = time.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let all = hours * 60 + minutes;
    ((0..60).contains(&minutes) && (0..=MINUTES_OF_A_DAY).contains(&all)).then_some(all)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Monday, 2026-01-05 09:00 UTC.
    const MONDAY_AT_NINE: u64 = 1_767_603_600;

    #[test]
    fn the_first_minute_is_in_and_the_last_is_out() {
        let hours = Hours::parse(r#"{ "from": "09:00", "to": "18:00" }"#).unwrap();
        assert!(hours.include(MONDAY_AT_NINE, 0));
        assert!(!hours.include(MONDAY_AT_NINE - 1, 0));
        assert!(hours.include(MONDAY_AT_NINE + 9 * 3600 - 1, 0));
        assert!(!hours.include(MONDAY_AT_NINE + 9 * 3600, 0));
        assert!(!hours.include(MONDAY_AT_NINE - 24 * 3600, 0), "Sunday");
    }

    #[test]
    fn local_time_counts() {
        let hours = Hours::parse(r#"{ "from": "00:00", "to": "01:00", "days": ["tue"] }"#).unwrap();
        assert!(hours.include(MONDAY_AT_NINE, 15 * 60));
        assert!(!hours.include(MONDAY_AT_NINE, 14 * 60));
        assert!(!hours.include(u64::MAX, 0));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let place = |document: &str| Hours::parse(document).unwrap_err().0;
        assert_eq!(place(r#"{ "from": "9:00", "to": "18:00" }"#), "from");
        assert_eq!(place(r#"{ "from": "09:00", "to": "24:01" }"#), "to");
        assert_eq!(
            place(r#"{ "from": "09:00", "to": "18:00", "days": ["mon", "Tue"] }"#),
            "days[1]"
        );
        assert_eq!(place("null"), "");
    }
}
