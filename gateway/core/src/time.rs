//! Instants and dates. The shell's clock makes a [`Timestamp`]; everything else receives it as an argument.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
pub use time::{Date, Month};

/// An instant in UTC, in milliseconds since 1970-01-01T00:00:00Z.
///
/// Text form: RFC 3339 with `Z` and milliseconds, `2026-03-02T08:41:07.120Z`. JSON uses the same text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The text is not an RFC 3339 instant between the years 1970 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an instant such as `2026-03-02T08:41:07Z`")]
pub struct TimestampFault;

impl Timestamp {
    /// 9999-12-31T23:59:59.999Z, the last instant RFC 3339 can write.
    pub const LAST: Self = Self(253_402_300_799_999);

    /// Clamped to the years 1970 to 9999, so that every timestamp can be written.
    pub const fn from_millis(millis: i64) -> Self {
        if millis < 0 {
            Self(0)
        } else if millis > Self::LAST.0 {
            Self::LAST
        } else {
            Self(millis)
        }
    }

    /// From a JWT NumericDate (RFC 7519 section 2).
    pub const fn from_seconds(seconds: i64) -> Self {
        Self::from_millis(seconds.saturating_mul(1000))
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded down: a JWT NumericDate.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    pub fn plus(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    pub fn minus(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The UTC calendar date.
    pub fn date(self) -> Date {
        self.datetime().date()
    }

    /// The first instant of a UTC calendar date.
    pub fn start_of(date: Date) -> Self {
        Self::from_seconds(date.midnight().assume_utc().unix_timestamp())
    }

    fn datetime(self) -> OffsetDateTime {
        // The clamp in `from_millis` keeps the value inside the range `time` can hold.
        let nanos = i128::from(self.0).saturating_mul(1_000_000);
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

/// The wall clock of Rome, written as if it were UTC: an hour ahead, two from the last Sunday of March to the last of
/// October, both at 01:00 UTC (Directive 2000/84/EC).
pub fn rome(at: Timestamp) -> Timestamp {
    const HOUR: Duration = Duration::from_secs(3600);
    let change =
        |month| last_sunday(at.date().year(), month).map(|date| Timestamp::start_of(date).plus(HOUR));
    let summer = match (change(Month::March), change(Month::October)) {
        (Some(from), Some(until)) => (from..until).contains(&at),
        (Some(_) | None, _) => false,
    };
    at.plus(if summer { HOUR * 2 } else { HOUR })
}

/// Of a month with 31 days.
fn last_sunday(year: i32, month: Month) -> Option<Date> {
    let last = Date::from_calendar_date(year, month, 31).ok()?;
    last.checked_sub(time::Duration::days(last.weekday().number_days_from_sunday().into()))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.datetime();
        let (date, time) = (t.date(), t.time());
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second(),
            time.millisecond()
        )
    }
}

impl FromStr for Timestamp {
    type Err = TimestampFault;

    fn from_str(text: &str) -> Result<Self, TimestampFault> {
        let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| TimestampFault)?;
        let millis = at.unix_timestamp_nanos().div_euclid(1_000_000);
        match i64::try_from(millis) {
            Ok(millis) if (0..=Self::LAST.0).contains(&millis) => Ok(Self(millis)),
            Ok(_) | Err(_) => Err(TimestampFault),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Reads a calendar date written `YYYY-MM-DD` (RFC 3339 full-date).
pub fn parse_date(text: &str) -> Option<Date> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') {
        return None;
    }
    let number = |range: std::ops::Range<usize>| -> Option<u16> {
        let digits = text.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let month = Month::try_from(u8::try_from(number(5..7)?).ok()?).ok()?;
    Date::from_calendar_date(i32::from(number(0..4)?), month, u8::try_from(number(8..10)?).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_back_what_it_writes() {
        for millis in [0, 1, 1_767_268_800_123, Timestamp::LAST.millis()] {
            let t = Timestamp::from_millis(millis);
            assert_eq!(t.to_string().parse::<Timestamp>(), Ok(t));
        }
        assert_eq!(Timestamp::from_seconds(1_767_268_800).to_string(), "2026-01-01T12:00:00.000Z");
    }

    #[test]
    fn rome_changes_its_clock_twice_a_year() {
        for (utc, there) in [
            ("2026-03-29T00:59:59.999Z", "2026-03-29T01:59:59.999Z"),
            ("2026-03-29T01:00:00.000Z", "2026-03-29T03:00:00.000Z"),
            ("2026-10-25T00:59:59.999Z", "2026-10-25T02:59:59.999Z"),
            ("2026-10-25T01:00:00.000Z", "2026-10-25T02:00:00.000Z"),
            ("2027-12-31T23:30:00.000Z", "2028-01-01T00:30:00.000Z"),
        ] {
            assert_eq!(rome(utc.parse().unwrap()).to_string(), there);
        }
    }

    #[test]
    fn a_date_must_exist() {
        assert!(parse_date("2024-02-29").is_some());
        for wrong in ["2023-02-29", "2023-2-09", "2023-00-10", "+023-01-10", "2023-01-1x", "èè23-01-1"] {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
    }
}
