use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer};

/// A length of time as people write it: `250ms`, `20s`, `10m`, `7d`. Prints as it was written, so
/// that it can name a retry queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    text: String,
    length: Duration,
}

/// What was written is no length of time.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a length of time: write a whole number and a unit, as in 250ms, 20s, 10m, 2h or 7d")]
pub struct SpanError(String);

impl Span {
    /// Its length.
    pub fn get(&self) -> Duration {
        self.length
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let error = || SpanError(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
        let n: u64 = text[..digits].parse().map_err(|_| error())?;
        let millis = match &text[digits..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(error()),
        };
        let length = Duration::from_millis(n.checked_mul(millis).ok_or_else(error)?);
        Ok(Self { text: text.to_owned(), length })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_written() {
        for (text, millis) in [("250ms", 250), ("1s", 1_000), ("10m", 600_000), ("7d", 604_800_000)] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.get(), span.to_string()), (Duration::from_millis(millis), text.into()));
        }
        for bad in ["", "10", "s", "1 s", "-1s", "1w", "99999999999999999999s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
