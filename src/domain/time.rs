//! Instants, zones and bucket widths. Nothing here asks what time it is.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::civil::DateTime;
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
        Self::parse_common(text.as_bytes()).or_else(|| text.parse::<Timestamp>().ok().map(Self::from))
    }

    /// The form in which nearly all events have it: `2013-01-01T10:17:00.123Z`, with up to nine decimals or none.
    #[expect(clippy::arithmetic_side_effects, reason = "every number is of so many digits that nothing overflows")]
    fn parse_common(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_first_chunk::<19>()?;
        let fraction = rest.strip_suffix(b"Z")?;
        // Every digit is looked at before the first decision: that is quicker than deciding for each.
        let mut digits = [0; 14];
        for (digit, place) in digits.iter_mut().zip([0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18]) {
            *digit = i64::from(head[place].wrapping_sub(b'0'));
        }
        let are_digits = digits.iter().fold(true, |all, digit| all & (*digit <= 9));
        let shaped = [head[4], head[7], head[10], head[13], head[16]] == *b"--T::";
        let two = |place: usize| digits[place] * 10 + digits[place + 1];
        let (year, month, day) = (two(0) * 100 + two(2), two(4), two(6));
        let (hour, minute, second) = (two(8), two(10), two(12));
        // A leap second, a leap day or the last year of all is rare enough to be looked at closely.
        let days =
            [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].get(usize::try_from(month).ok()?.checked_sub(1)?)?;
        let in_range = (1..=*days).contains(&day) && hour < 24 && minute < 60 && second < 60;
        if !are_digits || !shaped || !in_range || year == 0 || year == 9999 {
            return None;
        }
        let micros = match fraction {
            [] => 0,
            // Before 1970, cutting digits off goes the other way.
            [b'.', decimals @ ..] if (1..=9).contains(&decimals.len()) && (decimals.len() <= 6 || year >= 1970) => {
                let kept = |place: usize| decimals.get(place).map_or(0, |digit| i64::from(digit.wrapping_sub(b'0')));
                if !decimals.iter().all(u8::is_ascii_digit) {
                    return None;
                }
                (0..6).fold(0, |micros, place| micros * 10 + kept(place))
            }
            _ => return None,
        };
        let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
        Some(Self(seconds * 1_000_000 + micros))
    }

    /// Reads RFC 3339 with an offset, or a date, which stands for its beginning in `zone`.
    pub fn parse_in(text: &str, zone: &Zone) -> Option<Self> {
        Self::parse(text).or_else(|| Self::start_of(text.parse().ok()?, zone))
    }

    /// The instant of midnight (or of the first moment after a gap at midnight) that begins `date` in `zone`.
    pub fn start_of(date: Date, zone: &Zone) -> Option<Self> {
        date.to_zoned_datetime(zone.0.clone()).ok().map(|zoned| zoned.timestamp().into())
    }

    /// A local time of day; where clocks go forward over it, as much later, and where it comes twice, the first one.
    pub fn at_local(at: DateTime, zone: &Zone) -> Option<Self> {
        at.to_zoned_datetime(zone.0.clone()).ok().map(|zoned| zoned.timestamp().into())
    }

    /// The calendar day that `zone` shows at this instant.
    pub fn date_in(self, zone: &Zone) -> Date {
        self.timestamp().to_zoned_datetime(zone.0.clone()).date()
    }

    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 { Timestamp::MIN } else { Timestamp::MAX })
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar: years begin in March, so that the leap day is their last.
#[expect(clippy::arithmetic_side_effects, reason = "years have four digits")]
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let months_since_march = (month + 9) % 12;
    let day_of_year = (153 * months_since_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + day_of_year - 719_468
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The common form is read as the calendar's own reader reads it, and whatever that refuses is refused.
        #[test]
        fn the_common_form_is_read_like_any_other(
            year in 1_i64..=9999, month in 0..14, day in 0..33, time in "[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,9})?",
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}T{time}Z");
            let close = text.parse::<Timestamp>().ok().map(Instant::from);
            if let Some(common) = Instant::parse_common(text.as_bytes()) {
                prop_assert_eq!(Some(common), close, "{}", text);
            }
            prop_assert_eq!(Instant::parse(&text), close, "{}", text);
        }
    }

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
