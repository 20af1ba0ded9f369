use std::{fmt, str::FromStr};

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use serde::{Deserialize, Deserializer, de};

use crate::time_of_day::TimeOfDay;

/// A window within which the API still changes a day's report: `7d` is pulled again each day, `30d
/// weekly` each week, `14d every 3d` every three days. Prints as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restate {
    /// A day at most so many days ago lies within.
    pub within_days: u32,
    /// A seal holds for so many days, counted from midnight: 1 until the next day.
    pub every_days: u32,
}

/// What was written is no window.
#[derive(Debug, thiserror::Error)]
#[error(
    "'{0}' is not a restatement window: write days and perhaps how often, as in 7d, 30d weekly or 14d every 3d"
)]
pub struct RestateError(String);

impl Restate {
    /// Reads one window or an array of them, in a field with `#[serde(deserialize_with = ..)]`.
    ///
    /// # Errors
    /// [`RestateError`], or that there is neither a text nor an array of texts.
    pub fn windows<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Self>, D::Error> {
        struct Windows;
        impl<'de> de::Visitor<'de> for Windows {
            type Value = Vec<Restate>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a window, as in \"7d\", or an array of windows, as in [\"7d\", \"30d weekly\"]")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<Restate>, E> {
                text.parse().map(|window| vec![window]).map_err(E::custom)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Restate>, A::Error> {
                let mut windows = Vec::new();
                while let Some(window) = items.next_element()? {
                    windows.push(window);
                }
                Ok(windows)
            }
        }
        deserializer.deserialize_any(Windows)
    }

    /// Days that the longest of these windows reaches back; 0 without windows.
    pub fn reach(windows: &[Self]) -> u32 {
        windows.iter().map(|w| w.within_days).max().unwrap_or(0)
    }

    /// A seal on `day` that is older than this is due again: the midnight that began the last day on
    /// which a seal still holds. `None` for a day beyond the window.
    fn due_if_requested_before(self, day: Date, today: Date, zone: &TimeZone) -> Option<Timestamp> {
        let oldest = today.saturating_sub(i64::from(self.within_days).days());
        let holds = today.saturating_sub(i64::from(self.every_days.saturating_sub(1)).days());
        (day >= oldest).then(|| holds.to_zoned(zone.clone()).ok().map(|midnight| midnight.timestamp()))?
    }
}

/// A seal of requests before this is not the last word on `day`, which is a partition's last: they were sent
/// before the report was final, at `ready_at` of the next day, or lie too far back for one of the
/// windows. `None` where every seal holds. `zone` is the source's, and `today` its current day.
pub fn due_if_requested_before(
    day: Date,
    today: Date,
    zone: &TimeZone,
    ready_at: Option<&TimeOfDay>,
    windows: &[Restate],
) -> Option<Timestamp> {
    let ready = ready_at.and_then(|ready| ready.on(day.tomorrow().ok()?, zone));
    let restated = windows.iter().filter_map(|w| w.due_if_requested_before(day, today, zone)).max();
    ready.max(restated)
}

impl FromStr for Restate {
    type Err = RestateError;

    fn from_str(text: &str) -> Result<Self, RestateError> {
        let days =
            |word: &str| word.strip_suffix('d')?.parse::<u32>().ok().filter(|n| (1..=3_660).contains(n));
        let words: Vec<&str> = text.split_whitespace().collect();
        let window = match words[..] {
            [within] | [within, "daily"] => days(within).zip(Some(1)),
            [within, "weekly"] => days(within).zip(Some(7)),
            [within, "every", every] => days(within).zip(days(every)),
            _ => None,
        };
        let (within_days, every_days) = window.ok_or_else(|| RestateError(text.to_owned()))?;
        Ok(Self { within_days, every_days })
    }
}

impl fmt::Display for Restate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { within_days, every_days } = self;
        match every_days {
            1 => write!(f, "{within_days}d"),
            7 => write!(f, "{within_days}d weekly"),
            _ => write!(f, "{within_days}d every {every_days}d"),
        }
    }
}

impl<'de> Deserialize<'de> for Restate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn windows(texts: &[&str]) -> Vec<Restate> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn windows_read_as_written() {
        for (text, within_days, every_days) in
            [("7d", 7, 1), ("30d weekly", 30, 7), ("14d every 3d", 14, 3), ("2d daily", 2, 1)]
        {
            let window: Restate = text.parse().unwrap();
            assert_eq!(window, Restate { within_days, every_days });
            assert_eq!(window.to_string(), text.trim_end_matches(" daily"));
        }
        for bad in [
            "",
            "7",
            "0d",
            "d",
            "7d every",
            "7d every 0d",
            "7d monthly",
            "-7d",
            "7d weekly weekly",
            "9999999d",
        ] {
            assert!(bad.parse::<Restate>().unwrap_err().to_string().contains("30d weekly"), "{bad}");
        }
    }

    #[test]
    fn one_window_or_several() {
        #[derive(Deserialize)]
        struct Stream {
            #[serde(deserialize_with = "Restate::windows")]
            restate: Vec<Restate>,
        }
        let read = |json: &str| serde_json::from_str::<Stream>(json).map(|s| s.restate);
        assert_eq!(read(r#"{"restate": "7d"}"#).unwrap(), windows(&["7d"]));
        assert_eq!(read(r#"{"restate": ["7d", "30d weekly"]}"#).unwrap(), windows(&["7d", "30d weekly"]));
        for (bad, words) in
            [(r#"{"restate": 7}"#, "array of windows"), (r#"{"restate": ["7"]}"#, "30d weekly")]
        {
            assert!(read(bad).unwrap_err().to_string().contains(words), "{bad}");
        }
        assert_eq!((Restate::reach(&windows(&["7d", "30d weekly"])), Restate::reach(&[])), (30, 0));
    }

    #[test]
    fn a_seal_holds_as_long_as_its_window_says() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let today = date(2026, 3, 31);
        let both = windows(&["7d", "30d weekly"]);
        let midnight = |day: Date| Some(day.to_zoned(zone.clone()).unwrap().timestamp());
        for (day, due) in [
            // Within seven days each day: a seal of before today is not the last word.
            (date(2026, 3, 31), midnight(today)),
            (date(2026, 3, 24), midnight(today)),
            // Within thirty days each week: the seals of today and of the six days before it hold.
            (date(2026, 3, 23), midnight(date(2026, 3, 25))),
            (date(2026, 3, 1), midnight(date(2026, 3, 25))),
            (date(2026, 2, 28), None),
        ] {
            assert_eq!(due_if_requested_before(day, today, &zone, None, &both), due, "{day}");
        }
    }

    #[test]
    fn a_seal_of_before_ready_at_is_provisional() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let (day, today) = (date(2026, 3, 1), date(2026, 3, 31));
        let ready: TimeOfDay = "10:15".parse().unwrap();
        let due = |windows| due_if_requested_before(day, today, &zone, Some(&ready), windows);
        assert_eq!(due(&[]), Some("2026-03-02T02:15:00Z".parse().unwrap()));
        // A window that still holds the day requires a later seal.
        assert_eq!(due(&windows(&["30d"])), Some("2026-03-30T16:00:00Z".parse().unwrap()));
    }
}
