//! Instants, zones and bucket widths. Nothing here asks what time it is.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Error as _;

/// A moment, in whole microseconds since 1970-01-01T00:00Z. Shown as RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(i64);

impl Instant {
    /// 0001-01-01T00:00Z: before everything that is ever billed.
    pub const BEGINNING: Self = Self(-62_135_596_800_000_000);

    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339 with an offset. Digits beyond microseconds are cut off.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<Timestamp>().ok().map(Self::from)
    }

    /// Reads RFC 3339 with an offset, or a date, which stands for its beginning in `zone`.
    pub fn parse_in(text: &str, zone: &Zone) -> Option<Self> {
        Self::parse(text).or_else(|| Self::start_of(text.parse().ok()?, zone))
    }

    /// The instant of midnight (or of the first moment after a gap at midnight) that begins `date` in `zone`.
    pub fn start_of(date: Date, zone: &Zone) -> Option<Self> {
        date.to_zoned_datetime(zone.0.clone()).ok().map(|zoned| zoned.timestamp().into())
    }

    /// The calendar day that `zone` shows at this instant.
    pub fn date_in(self, zone: &Zone) -> Date {
        self.timestamp().to_zoned_datetime(zone.0.clone()).date()
    }

    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 { Timestamp::MIN } else { Timestamp::MAX })
    }
}

impl From<Timestamp> for Instant {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp.as_microsecond())
    }
}

/// An IANA time zone, known by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }

    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    pub fn jiff(&self) -> &TimeZone {
        &self.0
    }
}

/// How wide a usage bucket is. Buckets are aligned to UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bucket {
    #[serde(rename = "5m")]
    FiveMinutes,
    #[serde(rename = "15m")]
    QuarterHour,
    #[serde(rename = "1h")]
    Hour,
    #[serde(rename = "1d")]
    Day,
    /// The event itself: as wide as an instant is exact.
    #[serde(rename = "event")]
    Event,
}

impl Bucket {
    pub const fn micros(self) -> i64 {
        match self {
            Self::Event => 1,
            Self::FiveMinutes => 300_000_000,
            Self::QuarterHour => 900_000_000,
            Self::Hour => 3_600_000_000,
            Self::Day => 86_400_000_000,
        }
    }

    /// The start of the bucket that `at` falls in.
    pub fn floor(self, at: Instant) -> Instant {
        Instant(at.0.saturating_sub(at.0.rem_euclid(self.micros())))
    }

    /// The end of the bucket that starts at `start`.
    pub fn end(self, start: Instant) -> Instant {
        Instant(start.0.saturating_add(self.micros()))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timestamp().fmt(f)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not an RFC 3339 time")))
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_aligned_to_utc_also_before_1970() {
        let at = Instant::parse("1969-12-31T23:59:59.999999Z").expect("a time");
        assert_eq!(Bucket::Hour.floor(at).to_string(), "1969-12-31T23:00:00Z");
        let at = Instant::parse("2013-01-01T05:17:00-05:00").expect("a time");
        assert_eq!(Bucket::QuarterHour.floor(at).to_string(), "2013-01-01T10:15:00Z");
    }

    #[test]
    fn a_day_begins_after_the_gap_where_midnight_does_not_exist() {
        let zone = Zone::named("America/Sao_Paulo").expect("a zone");
        let start = Instant::start_of(jiff::civil::date(2018, 11, 4), &zone).expect("exists");
        assert_eq!(start.to_string(), "2018-11-04T03:00:00Z");
    }
}
