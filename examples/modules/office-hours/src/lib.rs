//! A policy module: commands run in office hours only, whoever asks. What they may use and how long they may run is left to the
//! policy file.
//!
//! `config: { from: "09:00", to: "18:00", days: [mon, tue, wed, thu, fri] }`

use secretctl_guard::{
    Decision, Moment, Policy, Problem, Purpose, Request, Weekday, export_policy,
};
use serde::Deserialize;

export_policy!(Hours);

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
    ["mon", "tue", "wed", "thu", "fri"].map(String::from).into()
}

impl Policy for Hours {
    fn configure(document: &str) -> Result<Self, Vec<Problem>> {
        let hours: Self = serde_json::from_str(document)
            .map_err(|error| vec![Problem::new("", error.to_string())])?;
        let problems = hours.problems();
        if problems.is_empty() {
            Ok(hours)
        } else {
            Err(problems)
        }
    }

    fn decide(&self, request: &Request) -> Decision {
        // To see which keys there are is no command.
        if request.purpose != Purpose::Inject || self.include(&request.time) {
            return Decision::allow(request).rule("hours");
        }
        let days = self.days.join(" ");
        let reason = format!("commands run only {} to {}, {days}", self.from, self.to);
        Decision::deny("hours", reason).remedy("change `from`, `to` or `days` of this module")
    }
}

impl Hours {
    fn problems(&self) -> Vec<Problem> {
        let times = [("from", &self.from), ("to", &self.to)].into_iter();
        let times = times
            .filter(|(_, time)| minutes(time).is_none())
            .map(|(place, time)| {
                Problem::new(place, format!("{time} is no time of the form HH:MM"))
            });
        let is_day = |day: &str| Weekday::ALL.iter().any(|known| known.to_string() == day);
        let days = self.days.iter().enumerate();
        let days = days.filter(|(_, day)| !is_day(day)).map(|(index, day)| {
            let message = format!("{day} is none of mon, tue, wed, thu, fri, sat, sun");
            Problem::new(format!("days[{index}]"), message)
        });
        times.chain(days).collect()
    }

    fn include(&self, time: &Moment) -> bool {
        let today = time.weekday().to_string();
        match (minutes(&self.from), minutes(&self.to)) {
            (Some(from), Some(to)) => {
                self.days.contains(&today) && (from..to).contains(&time.minute_of_day())
            }
            _ => false,
        }
    }
}

/// Minutes since midnight.
fn minutes(time: &str) -> Option<u16> {
    let (hours, minutes) = time.split_once(':')?;
    let number = |text: &str| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes < 60 && hours * 60 + minutes <= 24 * 60).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use secretctl_guard::Date;

    use super::*;

    const HOURS: &str = r#"{ "from": "09:00", "to": "18:00" }"#;

    /// Whether a command may run at a minute of a day of January 2026, which began with a Thursday.
    fn runs(document: &str, day: u8, minute_of_day: u16) -> bool {
        let hours = Hours::configure(document).expect("hours");
        let january = Date {
            year: 2026,
            month: 1,
            day,
        };
        let request =
            Request::for_command("npm", &["test"]).at(Moment::local(january, minute_of_day, 60));
        !hours.decide(&request).is_denied()
    }

    #[test]
    fn the_first_minute_is_in_and_the_last_is_out() {
        assert!(!runs(HOURS, 5, 9 * 60 - 1));
        assert!(runs(HOURS, 5, 9 * 60));
        assert!(runs(HOURS, 5, 18 * 60 - 1));
        assert!(!runs(HOURS, 5, 18 * 60));
        assert!(!runs(HOURS, 4, 9 * 60), "Sunday");
        assert!(runs(
            r#"{ "from": "00:00", "to": "24:00", "days": ["sun"] }"#,
            4,
            1439
        ));
    }

    #[test]
    fn a_command_is_refused_and_a_look_is_not() {
        let hours = Hours::configure(HOURS).expect("hours");
        let reason = "commands run only 09:00 to 18:00, mon tue wed thu fri";
        let denied =
            Decision::deny("hours", reason).remedy("change `from`, `to` or `days` of this module");
        assert_eq!(
            hours.decide(&Request::for_command("npm", &["test"])),
            denied
        );
        let look = Request::to_see().key("api/token");
        assert_eq!(hours.decide(&look), Decision::allow(&look).rule("hours"));
    }

    #[test]
    fn all_that_is_wrong_is_named() {
        let places = |document: &str| {
            let problems = Hours::configure(document).expect_err("something is wrong");
            let places = problems.into_iter().map(|problem| problem.path);
            places.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(places(r#"{ "from": "9:00", "to": "18:00" }"#), "from");
        assert_eq!(places(r#"{ "from": "+9:00", "to": "24:01" }"#), "from to");
        assert_eq!(places(r#"{ "from": "08:60", "to": "25:00" }"#), "from to");
        assert_eq!(
            places(r#"{ "from": "09:00", "to": "18:00", "days": ["mon", "Tue"] }"#),
            "days[1]"
        );
        assert_eq!(places("null"), "");
    }
}
