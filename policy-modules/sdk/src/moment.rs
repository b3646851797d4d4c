//! Local time without a clock or a time zone: the host says when it is, and by how much local time is ahead of UTC.

use core::fmt;

use crate::Moment;

const MINUTES_OF_A_DAY: i64 = 24 * 60;

/// A day of the Gregorian calendar. Later days are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// Such as 2026.
    pub year: i64,
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
}

/// A day of the week. Shown as `mon`, `tue`, `wed`, `thu`, `fri`, `sat` or `sun`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "they say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// All, in their order.
    pub const ALL: [Self; 7] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];
}

impl fmt::Display for Weekday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(["mon", "tue", "wed", "thu", "fri", "sat", "sun"][*self as usize])
    }
}

impl Moment {
    /// A moment that is named by local time, for tests: minutes since midnight, and the minutes by which local time is ahead of UTC.
    ///
    /// ```
    /// # use secretctl_guard::{Date, Moment, Weekday};
    /// let monday = Date { year: 2026, month: 1, day: 5 };
    /// let nine = Moment::local(monday, 9 * 60, 60);
    /// assert_eq!((nine.date(), nine.weekday()), (monday, Weekday::Monday));
    /// assert_eq!(nine.unix_seconds, 1_767_600_000); // 08:00 UTC
    /// ```
    pub fn local(date: Date, minute_of_day: u16, utc_offset_minutes: i32) -> Self {
        let minutes = days(date) * MINUTES_OF_A_DAY + i64::from(minute_of_day)
            - i64::from(utc_offset_minutes);
        Self {
            unix_seconds: u64::try_from(minutes * 60).unwrap_or_default(),
            utc_offset_minutes,
        }
    }

    /// The user's date.
    pub fn date(&self) -> Date {
        date(self.local_minutes().div_euclid(MINUTES_OF_A_DAY))
    }

    /// The user's day of the week.
    pub fn weekday(&self) -> Weekday {
        // 1970-01-01 was a Thursday.
        let days = self.local_minutes().div_euclid(MINUTES_OF_A_DAY) + 3;
        Weekday::ALL[days.rem_euclid(7) as usize]
    }

    /// Minutes since the user's midnight.
    pub fn minute_of_day(&self) -> u16 {
        self.local_minutes().rem_euclid(MINUTES_OF_A_DAY) as u16
    }

    fn local_minutes(&self) -> i64 {
        // Cannot overflow: a sixtieth of an u64 is far from the bounds of an i64.
        (self.unix_seconds / 60) as i64 + i64::from(self.utc_offset_minutes)
    }
}

// Years are counted from March, so that the day of a leap year is the last one; 400 of them always have as many days.
const DAYS_OF_400_YEARS: i64 = 146_097;
/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

/// Days since 1970-01-01.
fn days(date: Date) -> i64 {
    let month = i64::from(date.month);
    let year = date.year - i64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(date.day) - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - DAYS_TO_1970
}

fn date(days: i64) -> Date {
    let days = days + DAYS_TO_1970;
    let rest = days.rem_euclid(DAYS_OF_400_YEARS);
    // Without the days that leap years have more: one in 4 years, none in 100, one in 400.
    let year = (rest - rest / 1460 + rest / 36_524 - rest / 146_096) / 365;
    let day_of_year = rest - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    Date {
        year: days.div_euclid(DAYS_OF_400_YEARS) * 400 + year + i64::from(month >= 10),
        month: ((month + 2) % 12 + 1) as u8,
        day: day as u8,
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn at(unix_seconds: u64, utc_offset_minutes: i32) -> Moment {
        Moment {
            unix_seconds,
            utc_offset_minutes,
        }
    }

    fn day(year: i64, month: u8, day: u8) -> Date {
        Date { year, month, day }
    }

    #[test]
    fn days_follow_each_other_for_eight_hundred_years() {
        let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let mut expected = day(1970, 1, 1);
        for (number, weekday) in (0..800 * 366).zip(Weekday::ALL.iter().cycle().skip(3)) {
            let moment = at(number * 86_400, 0);
            assert_eq!((moment.date(), moment.weekday()), (expected, *weekday));
            assert_eq!(Moment::local(expected, 0, 0), moment);
            let length = match expected.month {
                2 => 28 + u8::from(is_leap(expected.year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (expected.month, expected.day) {
                (12, 31) => day(expected.year + 1, 1, 1),
                (month, last) if last == length => day(expected.year, month + 1, 1),
                (month, other) => day(expected.year, month, other + 1),
            };
        }
    }

    #[test]
    fn local_time_counts() {
        // 2026-01-05 23:30 UTC, a Monday.
        let monday = 1_767_655_800;
        assert_eq!(at(monday, 29).weekday(), Weekday::Monday);
        assert_eq!(at(monday, 30).weekday(), Weekday::Tuesday);
        assert_eq!(at(monday, 30).date(), day(2026, 1, 6));
        assert_eq!(at(monday, -60).minute_of_day(), 22 * 60 + 30);
        assert_eq!(at(0, -1).date(), day(1969, 12, 31));
        assert_eq!(at(0, -1).minute_of_day(), 24 * 60 - 1);
        assert_eq!(at(0, -1).weekday(), Weekday::Wednesday);
    }

    #[test]
    fn no_moment_is_too_far_away() {
        let far = at(u64::MAX, i32::MAX);
        assert!(far.date() > at(u64::MAX, i32::MIN).date());
        assert!(far.minute_of_day() < 24 * 60);
        assert_eq!(Weekday::Sunday.to_string(), "sun");
    }
}
