//! Flags that several commands share.

use std::path::{Path, PathBuf};

use clap::Args;
use pagemill_core::{ConfigDuration, DateWord, PageRange};

use pagemill_engine::{
    config::{Config, ConfigError, DEFAULT_PATH},
    error::UsageError,
    run::request::{Lookback, RunRequest},
};

/// `--config F`
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConfigArg {
    /// The config file [default: pagemill.toml]
    #[arg(long, value_name = "FILE", env = "PAGEMILL_CONFIG", global = true)]
    pub(crate) config: Option<PathBuf>,
}

impl ConfigArg {
    /// Reads the config named, or `pagemill.toml` here.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub(crate) fn read(&self) -> Result<Config, ConfigError> {
        Config::read(self.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH)))
    }
}

/// The days of a command.
#[derive(Args, Clone, Debug)]
pub(crate) struct DayArgs {
    /// One day: YYYY-MM-DD, today or yesterday, in the source's time zone
    #[arg(long, value_name = "D", conflicts_with_all = ["from", "to"])]
    pub(crate) date: Option<DateWord>,
    /// First day
    #[arg(long, value_name = "D", requires = "to")]
    pub(crate) from: Option<DateWord>,
    /// Last day
    #[arg(long, value_name = "D", requires = "from")]
    pub(crate) to: Option<DateWord>,
}

impl DayArgs {
    /// First and last day, if any were named.
    pub(crate) fn range(&self) -> Option<(DateWord, DateWord)> {
        self.date.map(|day| (day, day)).or(self.from.zip(self.to))
    }

    /// The days named, or yesterday.
    pub(crate) fn or_yesterday(&self) -> Self {
        if self.range().is_some() {
            return self.clone();
        }
        Self { date: Some(DateWord::Yesterday), from: None, to: None }
    }
}

/// The part of the config that is to be pulled.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SelectArgs {
    /// Only this source
    #[arg(long, value_name = "S")]
    pub(crate) source: Option<String>,
    /// Only this stream (repeatable)
    #[arg(long = "stream", value_name = "S")]
    pub(crate) streams: Vec<String>,
    /// Only this account (repeatable)
    #[arg(long = "account", value_name = "A")]
    pub(crate) accounts: Vec<String>,
    /// Also N days before the first one; "restate": as far back as the API still changes the days of each
    /// stream (its `restate`). The newest day is pulled first. A sealed day is pulled again only where a
    /// window or `ready_at` makes it due
    #[arg(long, value_name = "N|restate", default_value = "0")]
    pub(crate) lookback: Lookback,
    /// Only these pages, as in 1-500; the partition then closes as incomplete, reason subset
    #[arg(long, value_name = "RANGE", value_parser = page_range)]
    pub(crate) pages: Option<PageRange>,
    /// Pull again what is sealed already
    #[arg(long)]
    pub(crate) again: bool,
}

impl SelectArgs {
    /// What a run is to pull of these days.
    ///
    /// # Errors
    /// [`UsageError`] when no day is named.
    pub(crate) fn on(self, days: &DayArgs) -> Result<RunRequest, UsageError> {
        let (from, to) = days.range().ok_or_else(|| {
            UsageError(
                "no day: add --date D, or --from D --to D (D is YYYY-MM-DD, today or yesterday)".into(),
            )
        })?;
        Ok(RunRequest {
            from,
            to,
            lookback: self.lookback,
            source: self.source,
            streams: self.streams,
            accounts: self.accounts,
            pages: self.pages,
            repull_sealed: self.again,
        })
    }
}

/// `1-500`, or `7`.
fn page_range(text: &str) -> Result<PageRange, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let page = |t: &str| {
        t.trim().parse::<u32>().map_err(|_| format!("'{text}' is no range of pages: write 1-500, or 7"))
    };
    let range = PageRange { first: page(first)?, last: page(last)? };
    match range {
        PageRange { first: 0, .. } => Err("pages count from 1".into()),
        PageRange { first, last } if first > last => Err(format!("page {first} comes after page {last}")),
        PageRange { last, .. } if i32::try_from(last).is_err() => {
            Err(format!("page {last} is beyond any report"))
        }
        range => Ok(range),
    }
}

/// A length of time on the command line.
pub(crate) fn span(text: &str) -> Result<ConfigDuration, String> {
    text.parse().map_err(|e: pagemill_core::ConfigDurationError| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_ranges() {
        assert_eq!(page_range("1-500"), Ok(PageRange { first: 1, last: 500 }));
        assert_eq!(page_range("7"), Ok(PageRange { first: 7, last: 7 }));
        for bad in ["0-3", "5-4", "a", "", "1-", "-1", "1-9999999999"] {
            assert!(page_range(bad).is_err(), "{bad}");
        }
    }
}
