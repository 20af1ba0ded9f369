//! The request for a run: days, sources, streams, accounts and pages.

use std::str::FromStr;

use pagemill_core::{DateWord, PageRange};

/// The days, source, streams, accounts and pages that a run is to pull.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// First day.
    pub from: DateWord,
    /// Last day.
    pub to: DateWord,
    /// Days before the first day that are included.
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

/// Days before the requested days that a run includes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookback {
    /// A number of days before the first.
    Days(u32),
    /// As far as the API still changes each stream's days: its longest restatement window.
    Restate,
}

impl RunRequest {
    /// A range of days, of all sources, streams and accounts.
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
