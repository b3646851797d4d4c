//! Time: now, spans and moments as people write them, and as records show them.

#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::fmt::temporal::Pieces;
use jiff::tz::{Offset, TimeZone};

const HOUR_SECONDS: u64 = 3600;
const DAY_SECONDS: u64 = 24 * HOUR_SECONDS;

/// Seconds since 1970-01-01 00:00 UTC.
pub fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Nanoseconds since 1970-01-01 00:00 UTC.
pub fn now_ns() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The local time zone's offset from UTC at this moment, in minutes.
pub fn utc_offset_minutes(unix_seconds: i64) -> i32 {
    let moment = Timestamp::from_second(unix_seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    TimeZone::system().to_offset(moment).seconds() / 60
}

/// A moment as RFC 3339 in UTC, such as `2030-12-31T23:59:59Z`.
pub fn rfc3339(unix_seconds: i64) -> String {
    let moment = Timestamp::from_second(unix_seconds);
    moment.map_or_else(|_| format!("{unix_seconds} s"), |moment| moment.to_string())
}

/// A moment with its offset from UTC, such as `2026-11-22T10:00:00+01:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub unix_seconds: u64,
    /// In minutes.
    pub utc_offset_minutes: i32,
}

impl FromStr for Local {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str =
            "write a moment since 1970 with its offset from UTC, such as 2026-11-22T10:00:00+01:00";
        let moment: Timestamp = text.parse().map_err(|_| RULE)?;
        let pieces = Pieces::parse(text).map_err(|_| RULE)?;
        let offset = pieces.to_numeric_offset().unwrap_or(Offset::UTC);
        Ok(Self {
            unix_seconds: u64::try_from(moment.as_second()).map_err(|_| RULE)?,
            utc_offset_minutes: offset.seconds() / 60,
        })
    }
}

/// A length of time: `500ms`, `90s`, `5m` (minutes), `12h`, `30d`, `2w`, `1y` (365 days).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str =
            "write a number and a unit: ms, s, m (minutes), h, d, w or y, such as 90s or 30d";
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or(RULE)?;
        let (number, unit) = text.split_at(unit_at);
        let number: u64 = number.parse().map_err(|_| RULE)?;
        let unit_seconds = match unit {
            "ms" => return Ok(Self(Duration::from_millis(number))),
            "s" => 1,
            "m" => 60,
            "h" => HOUR_SECONDS,
            "d" => DAY_SECONDS,
            "w" => 7 * DAY_SECONDS,
            "y" => 365 * DAY_SECONDS,
            _ => return Err(RULE),
        };
        let seconds = number.checked_mul(unit_seconds).ok_or("that is too long")?;
        Ok(Self(Duration::from_secs(seconds)))
    }
}

impl fmt::Display for Span {
    /// In the largest unit that gives a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_nanos() > 0 {
            return write!(f, "{}ms", self.0.as_millis());
        }
        let seconds = self.0.as_secs();
        let units = [(DAY_SECONDS, "d"), (HOUR_SECONDS, "h"), (60, "m")];
        let fits = |(length, _): &(u64, &str)| seconds.is_multiple_of(*length);
        let (length, unit) = units.into_iter().find(fits).unwrap_or((1, "s"));
        write!(f, "{}{unit}", seconds / length)
    }
}

/// A point in time as people write it: how long ago, a day, or the moment itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// This long before now.
    Ago(Duration),
    /// This day, in the local time zone.
    Day(Date),
    /// This moment.
    At(Timestamp),
}

impl Point {
    /// Its first nanosecond since 1970, as seen from `now_ns`.
    pub fn start_ns(self, now_ns: i64) -> Result<i64, &'static str> {
        const RANGE: &str = "that is too far from now";
        let midnight = |date: Date| date.to_zoned(TimeZone::system()).map(|day| day.timestamp());
        let moment = match self {
            Self::Ago(span) => {
                let span = i64::try_from(span.as_nanos()).map_err(|_| RANGE)?;
                return now_ns.checked_sub(span).ok_or(RANGE);
            }
            Self::Day(date) => midnight(date).map_err(|_| RANGE)?,
            Self::At(moment) => moment,
        };
        i64::try_from(moment.as_nanosecond()).map_err(|_| RANGE)
    }

    /// Its last nanosecond since 1970: a day ends with the next one's beginning.
    pub fn end_ns(self, now_ns: i64) -> Result<i64, &'static str> {
        match self {
            Self::Day(date) => {
                let next = date.tomorrow().map_err(|_| "that is too far from now")?;
                Self::Day(next).start_ns(now_ns).map(|next| next - 1)
            }
            other => other.start_ns(now_ns),
        }
    }
}

impl FromStr for Point {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "write a span before now such as 7d, a date such as 2026-11-22, or a moment such as 2026-11-22T10:00:00+01:00";
        if let Ok(Span(span)) = text.parse() {
            return Ok(Self::Ago(span));
        }
        // A moment would be read as its day.
        match text.contains(['T', 't', ' ']) {
            true => text.parse().map(Self::At).map_err(|_| RULE),
            false => text.parse().map(Self::Day).map_err(|_| RULE),
        }
    }
}

/// When a secret expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Not at all.
    Never,
    /// This long after now.
    In(Duration),
    /// At the end of this day, in the local time zone.
    On(Date),
}

impl Expiry {
    /// The moment in seconds since 1970 UTC, as seen from `now`.
    pub fn unix_seconds(self, now: i64) -> Result<Option<i64>, &'static str> {
        const TOO_LATE: &str = "that is too far in the future";
        match self {
            Self::Never => Ok(None),
            Self::In(span) => {
                let span = i64::try_from(span.as_secs()).map_err(|_| TOO_LATE)?;
                now.checked_add(span).map(Some).ok_or(TOO_LATE)
            }
            Self::On(date) => {
                let midnight = date
                    .tomorrow()
                    .and_then(|next| next.to_zoned(TimeZone::system()));
                midnight
                    .map(|midnight| Some(midnight.timestamp().as_second()))
                    .map_err(|_| TOO_LATE)
            }
        }
    }
}

impl FromStr for Expiry {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "never" {
            return Ok(Self::Never);
        }
        if let Ok(date) = text.parse::<Date>() {
            return Ok(Self::On(date));
        }
        match text.parse::<Span>() {
            Ok(Span(span)) => Ok(Self::In(span)),
            Err(_) => Err("write a span such as 90d or 1y, a date such as 2030-12-31, or never"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_moment_has_its_offset() {
        let local = |text: &str| {
            let local = text.parse::<Local>().ok()?;
            Some((local.unix_seconds, local.utc_offset_minutes))
        };
        assert_eq!(local("1970-01-01T01:00:00+01:00"), Some((0, 60)));
        assert_eq!(local("1970-01-02T00:00:00-02:30"), Some((95_400, -150)));
        assert_eq!(local("1970-01-01T00:00:01Z"), Some((1, 0)));
        for bad in [
            "1970-01-01T00:00:00",
            "1969-12-31T23:59:59Z",
            "1970-01-01",
            "now",
            "",
        ] {
            assert_eq!(local(bad), None, "{bad}");
        }
    }

    #[test]
    fn spans_have_a_unit() {
        let seconds = |text: &str| text.parse::<Span>().map(|span| span.0.as_secs());
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!("500ms".parse(), Ok(Span(Duration::from_millis(500))));
        for text in ["500ms", "1500ms", "90s", "5m", "25h", "30d", "0d"] {
            let span = text.parse::<Span>();
            assert_eq!(span.map(|span| span.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("1h"), Ok(3600));
        assert_eq!(seconds("30d"), Ok(30 * 86_400));
        assert_eq!(seconds("2w"), Ok(14 * 86_400));
        assert_eq!(seconds("1y"), Ok(365 * 86_400));
        for bad in [
            "",
            "5",
            "m",
            "-5m",
            "1.5h",
            "5 m",
            "5mo",
            "99999999999999999y",
        ] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_span_is_written_in_the_largest_unit_that_fits() {
        let cases = [
            (0, "0d"),
            (1, "1s"),
            (60, "1m"),
            (5400, "90m"),
            (7200, "2h"),
            (86_400, "1d"),
            (90 * 86_400, "90d"),
        ];
        for (seconds, text) in cases {
            let span = Span(Duration::from_secs(seconds));
            assert_eq!(span.to_string(), text);
            assert_eq!(text.parse(), Ok(span));
        }
    }

    #[test]
    fn a_point_in_time_is_a_span_a_day_or_a_moment() {
        const SECOND: i64 = 1_000_000_000;
        let day = 86_400 * SECOND;
        let bounds = |text: &str| {
            let point: Point = text.parse().ok()?;
            Some((
                point.start_ns(5 * SECOND).ok()?,
                point.end_ns(5 * SECOND).ok()?,
            ))
        };
        assert_eq!(bounds("2s"), Some((3 * SECOND, 3 * SECOND)));
        assert_eq!(bounds("1970-01-01T01:00:01+01:00"), Some((SECOND, SECOND)));
        let (start, end) = bounds("2026-11-22").expect("a day");
        assert_eq!(end - start, day - 1);
        for bad in [
            "",
            "x",
            "-1d",
            "2026-13-01",
            "2026-11-22T10:00",
            "10:00",
            "9999y",
            "now",
        ] {
            assert_eq!(bounds(bad), None, "{bad}");
        }
    }

    #[test]
    fn moments_are_written_in_utc() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_924_991_999), "2030-12-31T23:59:59Z");
        assert_eq!(rfc3339(i64::MAX), "9223372036854775807 s");
    }

    #[test]
    fn expiry_is_a_span_a_date_or_never() {
        assert_eq!("never".parse(), Ok(Expiry::Never));
        let at = |text: &str| {
            text.parse::<Expiry>()
                .expect("valid")
                .unix_seconds(1_000)
                .expect("in range")
        };
        assert_eq!(at("never"), None);
        assert_eq!(at("90s"), Some(1_090));
        assert!(at("2030-12-31").is_some());
        for bad in ["", "soon", "2030-13-01", "tomorrow"] {
            assert!(bad.parse::<Expiry>().is_err(), "{bad}");
        }
    }
}
