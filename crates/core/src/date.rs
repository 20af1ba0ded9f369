use std::str::FromStr;

use jiff::civil::Date;

/// A date as it is typed: `YYYY-MM-DD`, `today` or `yesterday`, meant in the source's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateWord {
    /// A given day.
    Day(Date),
    /// The current day of the source's zone.
    Today,
    /// The day before it.
    Yesterday,
}

/// What was typed is no date.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a date: write YYYY-MM-DD, today or yesterday")]
pub struct DateWordError(String);

impl DateWord {
    /// The day meant, when `today` is the source's current day.
    pub fn resolve(self, today: Date) -> Date {
        match self {
            Self::Day(day) => day,
            Self::Today => today,
            Self::Yesterday => today.yesterday().unwrap_or(today),
        }
    }
}

impl FromStr for DateWord {
    type Err = DateWordError;

    fn from_str(text: &str) -> Result<Self, DateWordError> {
        match text {
            "today" => Ok(Self::Today),
            "yesterday" => Ok(Self::Yesterday),
            // Strict: jiff alone would also take a date with a time behind it.
            day if day.len() == 10 => day.parse().map(Self::Day).map_err(|_| DateWordError(text.to_owned())),
            _ => Err(DateWordError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_typed() {
        let today = jiff::civil::date(2026, 3, 1);
        for (text, day) in [
            ("2026-02-28", jiff::civil::date(2026, 2, 28)),
            ("yesterday", jiff::civil::date(2026, 2, 28)),
            ("today", today),
        ] {
            assert_eq!(text.parse::<DateWord>().unwrap().resolve(today), day);
        }
        for bad in ["2026-02-30", "tomorrow", "", "20260228", "2026-02-28T00:00"] {
            assert!(bad.parse::<DateWord>().is_err(), "{bad}");
        }
    }
}
