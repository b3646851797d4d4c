//! Moments as SQLite, Go and RFC 3339 write them.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

/// Seconds since 1970 of a moment in one of these forms, in UTC where none is named:
///
/// ```text
/// 2026-02-21 03:04:05                                   SQLite
/// 2026-02-21T04:04:05.1+01:00                           RFC 3339, also with a space
/// 2026-02-21 04:04:05.1 +0100 CET m=+2592000.0          Go
/// ```
pub(super) fn unix_seconds(text: &str) -> Option<i64> {
    let (date, rest) = text.trim().split_at_checked("2026-02-21".len())?;
    let date: Date = date.parse().ok()?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let time_ends = rest.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.');
    let (time, zone) = rest.split_at(time_ends.unwrap_or(rest.len()));
    let time: Time = time.parse().ok()?;
    // The first word is the offset; Go's name of the zone and its other clock follow.
    let offset = offset(zone.split_whitespace().next())?;
    let moment = offset.to_timestamp(DateTime::from_parts(date, time)).ok()?;
    // Rounded down, also before 1970.
    Some(moment.as_nanosecond().div_euclid(1_000_000_000)).and_then(|s| i64::try_from(s).ok())
}

/// `Z`, `UTC`, `+01:00`, `+0100`, or nothing.
fn offset(text: Option<&str>) -> Option<Offset> {
    let Some(text) = text.filter(|text| !matches!(*text, "Z" | "z" | "UTC")) else {
        return Some(Offset::UTC);
    };
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = digits.replace(':', "");
    let is_offset = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: i32 = is_offset.then(|| digits.parse().ok())??;
    let (hours, minutes) = (number / 100, number % 100);
    Offset::from_seconds(sign * (hours * 60 + minutes) * 60).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_forms_tell_the_same_moment() {
        for text in [
            "2026-02-21 03:04:05",
            "2026-02-21T03:04:05Z",
            "2026-02-21T03:04:05.999999999Z",
            "2026-02-21 03:04:05.1+00:00",
            "2026-02-21T04:04:05+01:00",
            "2026-02-21 03:04:05.1 +0000 UTC m=+2592000.0",
            "2026-02-21 03:04:05 UTC",
            "2026-02-20 21:34:05.1 -0530 -0530",
            "2026-02-21 04:04:05.123456789 +0100 CET m=-1.5",
        ] {
            assert_eq!(unix_seconds(text), Some(1_771_643_045), "{text}");
        }
        assert_eq!(unix_seconds("1969-12-31 23:59:59.5"), Some(-1));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2026-02-21",
            "2026-02-21 ",
            "2026-02-21 25:00:00",
            "2026-02-30 00:00:00",
            "12026-02-21 03:04:05 +0000 UTC",
            "2026-02-21 03:04:05 CET",
            "2026-02-21 03:04:05 +1",
            "2026-02-21 03:04:05 +9900",
            "2026-02-21x03:04:05",
            "1771643045",
            "ééééééééééé",
        ] {
            assert_eq!(unix_seconds(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text: String, near in "[0-9T:. +ZUC-]{0,40}") {
            let _ = (unix_seconds(&text), unix_seconds(&near));
            let _ = unix_seconds(&format!("2026-02-21{text}"));
            let _ = unix_seconds(&format!("2026-02-21 03:04:05 {near}"));
        }
    }
}
