use std::{fmt, str::FromStr, time::Duration};

use jiff::{SpanRelativeTo, fmt::friendly::SpanParser};
use serde::{Deserialize, Deserializer};

/// The units of the canonical form, in milliseconds.
const UNITS: [(u64, &str); 5] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];

/// A length of time as people write it: `250ms`, `20s`, `10m`, `1h 30m`, `7d`. A whole number of
/// milliseconds; a day is 24 hours. Prints as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigDuration {
    text: String,
    length: Duration,
}

/// The text is no length of time.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a length of time: write numbers with units, as in 250ms, 20s, 1h 30m or 7d")]
pub struct ConfigDurationError(String);

impl ConfigDuration {
    /// The length.
    pub fn get(&self) -> Duration {
        self.length
    }

    /// One text for one length, without spaces, so that it can name a retry queue: `1h30m` for `90m`.
    pub fn canonical(&self) -> String {
        let mut rest = self.length.as_millis() as u64;
        let mut text = String::new();
        for (unit, name) in UNITS {
            if rest >= unit {
                text += &format!("{}{name}", rest / unit);
                rest %= unit;
            }
        }
        if text.is_empty() { "0s".to_owned() } else { text }
    }
}

impl FromStr for ConfigDuration {
    type Err = ConfigDurationError;

    fn from_str(text: &str) -> Result<Self, ConfigDurationError> {
        let length = parse(text).ok_or_else(|| ConfigDurationError(text.to_owned()))?;
        Ok(Self { text: text.to_owned(), length })
    }
}

/// `None` also for what is negative, has no fixed length (months), or ends within a millisecond.
fn parse(text: &str) -> Option<Duration> {
    let span = SpanParser::new().parse_span(text).ok()?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(length).ok().filter(|length| length.subsec_nanos() % 1_000_000 == 0)
}

impl fmt::Display for ConfigDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for ConfigDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_duration_prints_as_written() {
        for (text, millis, canonical) in [
            ("0s", 0, "0s"),
            ("250ms", 250, "250ms"),
            ("1s", 1_000, "1s"),
            ("90s", 90_000, "1m30s"),
            ("10m", 600_000, "10m"),
            ("1h 30m", 5_400_000, "1h30m"),
            ("1.5h", 5_400_000, "1h30m"),
            ("1 hour, 30 minutes", 5_400_000, "1h30m"),
            ("7d", 604_800_000, "7d"),
            ("1w", 604_800_000, "7d"),
        ] {
            let duration: ConfigDuration = text.parse().unwrap();
            assert_eq!((duration.get(), duration.to_string()), (Duration::from_millis(millis), text.into()));
            assert_eq!(duration.canonical(), canonical);
        }
    }

    #[test]
    fn what_is_no_duration_is_named_with_an_example() {
        for text in ["", " ", "10", "0", "s", "-1s", "1s ago", "1x", "1mo", "500us", "99999999999999999999s"]
        {
            let error = text.parse::<ConfigDuration>().expect_err(text).to_string();
            assert!(error.starts_with(&format!("'{text}' is not a length of time")), "{error}");
            assert!(error.contains("1h 30m"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn one_number_and_one_unit_is_a_duration(n in 0_u64..7_000_000, unit in 0..UNITS.len()) {
            let (millis, unit) = UNITS[unit];
            let duration: ConfigDuration = format!("{n}{unit}").parse().unwrap();
            prop_assert_eq!(duration.get(), Duration::from_millis(n * millis));
        }

        #[test]
        fn a_canonical_text_names_its_length(millis in 0_u64..100_000_000_000) {
            let duration: ConfigDuration = format!("{millis}ms").parse().unwrap();
            let canonical = duration.canonical();
            prop_assert!(canonical.chars().all(|c| c.is_ascii_alphanumeric()));
            prop_assert_eq!(canonical.parse::<ConfigDuration>().unwrap().get(), duration.get());
        }
    }
}
