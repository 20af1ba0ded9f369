//! `[consumer]`: how pages are worked on.

use std::{fmt, time::Duration};

use pagemill_core::{ConfigDuration, RetrySchedule};
use serde::Deserialize;

const ATTEMPTS: u32 = 5;
const RETRY: [&str; 4] = ["1s", "10s", "1m", "10m"];
const GRACE: &str = "20s";
const BATCH_PAGES: u32 = 20;
const WRITERS: u32 = 3;
const STALLED_AFTER: &str = "2m";
const REPAIR_ROUNDS: u32 = 3;
const KEEP_RESPONSES: bool = true;
const APPLY_TIMEOUT: &str = "30m";

/// Names of the keys, all of which the environment may set.
pub(super) const KEYS: &[&str] = &[
    "workers",
    "attempts",
    "retry",
    "grace",
    "batch_pages",
    "writers",
    "prefetch",
    "stalled_after",
    "repair_rounds",
    "keep_responses",
    "apply_timeout",
];

/// `[consumer]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumerSettings {
    /// Workers of one process: a number, or `"auto"` = from the quota.
    pub workers: CountOrAuto,
    /// Attempts of a page before it is dead, the first included.
    pub attempts: u32,
    /// Delays of the retry tiers, in which a failed page waits for its next attempt.
    pub retry: Vec<ConfigDuration>,
    /// Time that running pages have to finish after the first stop signal.
    pub grace: ConfigDuration,
    /// The most pages in one transaction.
    pub batch_pages: u32,
    /// Transactions at a time.
    pub writers: u32,
    /// Deliveries held without an ack: a number, or `"auto"` = from the quota.
    pub prefetch: CountOrAuto,
    /// A partition without progress for so long, while the queues are empty, is published again.
    pub stalled_after: ConfigDuration,
    /// The most rounds in which pages are fetched again because a partition's proof failed.
    pub repair_rounds: u32,
    /// True if each page's response is kept, compressed.
    pub keep_responses: bool,
    /// The longest time in which a proved attempt's rows may be put into the table.
    pub apply_timeout: ConfigDuration,
}

/// A number, or from the quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountOrAuto {
    /// From the quota, by Little's law.
    Auto,
    /// This number.
    Count(u32),
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        let duration = |text: &str| text.parse().expect("a constant duration");
        Self {
            workers: CountOrAuto::Auto,
            attempts: ATTEMPTS,
            retry: RETRY.map(duration).to_vec(),
            grace: duration(GRACE),
            batch_pages: BATCH_PAGES,
            writers: WRITERS,
            prefetch: CountOrAuto::Auto,
            stalled_after: duration(STALLED_AFTER),
            repair_rounds: REPAIR_ROUNDS,
            keep_responses: KEEP_RESPONSES,
            apply_timeout: duration(APPLY_TIMEOUT),
        }
    }
}

impl ConsumerSettings {
    /// Attempts and delays.
    pub fn schedule(&self) -> RetrySchedule {
        RetrySchedule { attempts: self.attempts, delays: self.retry.clone() }
    }

    /// The longest delay of a retry.
    pub fn longest_retry(&self) -> Duration {
        self.retry.last().map_or(Duration::ZERO, ConfigDuration::get)
    }

    /// Checks the values that serde cannot check.
    pub(super) fn check(&self) -> Result<(), String> {
        let wrong = |key: &str, what: &str| Err(format!("consumer.{key} {what}"));
        if self.attempts == 0 {
            return wrong("attempts", "must be at least 1");
        }
        let grow = self.retry.windows(2).all(|pair| pair[0].get() < pair[1].get());
        if self.retry.is_empty() || !grow {
            return wrong("retry", "must be growing delays, such as [\"1s\", \"10s\", \"1m\"]");
        }
        if self.batch_pages == 0 || self.writers == 0 {
            return wrong("batch_pages and consumer.writers", "must be at least 1");
        }
        Ok(())
    }
}

impl CountOrAuto {
    /// The number, if one is given.
    pub fn count(self) -> Option<u32> {
        match self {
            Self::Auto => None,
            Self::Count(n) => Some(n),
        }
    }
}

impl<'de> Deserialize<'de> for CountOrAuto {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = CountOrAuto;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\" or a whole number from 1 to 2000")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<CountOrAuto, E> {
                match text {
                    "auto" => Ok(CountOrAuto::Auto),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<CountOrAuto, E> {
                match u32::try_from(n) {
                    Ok(n @ 1..=2000) => Ok(CountOrAuto::Count(n)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Signed(n), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
