//! What a run is requested to pull.

use std::str::FromStr;

use pagemill_core::{DateWord, PageRange};

/// What a run is requested to pull.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// First day.
    pub from: DateWord,
    /// Last day.
    pub to: DateWord,
    /// How far before the first day as well.
    pub lookback: Lookback,
    /// Only this source.
    pub source: Option<String>,
    /// Only these streams; empty = all that the config names.
    pub streams: Vec<String>,
    /// Only these accounts; empty = all that the config names.
    pub accounts: Vec<String>,
    /// Only these pages.
    pub pages: Option<PageRange>,
    /// Pull again what is sealed.
    pub repull_sealed: bool,
}

/// How far back a run looks beyond the days requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookback {
    /// So many days before the first.
    Days(u32),
    /// As far as the API still changes each stream's days: its longest restatement window.
    Restate,
}

impl RunRequest {
    /// A range of days, and nothing else in particular.
    pub fn days(from: DateWord, to: DateWord) -> Self {
        Self {
            from,
            to,
            lookback: Lookback::default(),
            source: None,
            streams: vec![],
            accounts: vec![],
            pages: None,
            repull_sealed: false,
        }
    }
}

impl Default for Lookback {
    fn default() -> Self {
        Self::Days(0)
    }
}

impl FromStr for Lookback {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "restate" => Ok(Self::Restate),
            days => days
                .parse()
                .map(Self::Days)
                .map_err(|_| format!("'{days}' is neither a number of days nor \"restate\"")),
        }
    }
}
