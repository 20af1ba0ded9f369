//! The quotas that a request falls under.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use pagemill_core::{QuotaScope, Slice};
use pagemill_source::{Definition, Rate, Windows};
use pagemill_store::QuotaLimits;

/// One quota: a row of `pagemill.quotas`.
#[derive(Debug)]
pub(crate) struct QuotaKey {
    /// `source`, `source@account`, `source.stream` or `source.stream@account`
    pub(crate) name: String,
    pub(crate) scope: QuotaScope,
    pub(crate) limits: QuotaLimits,
    /// Seconds from one slot to the next at the full rate, 0 where only days are limited.
    pub(crate) interval: f64,
    /// The newest epoch seen: slots of an older one are void.
    epoch: AtomicI64,
}

/// The quotas of a source.
pub(crate) struct QuotaKeys {
    source: String,
    rate: Rate,
    streams: HashMap<String, Rate>,
    known: Mutex<HashMap<String, Arc<QuotaKey>>>,
}

impl QuotaKeys {
    pub(crate) fn new(definition: &Definition) -> Self {
        let limited = |rate: &Rate| !rate.windows().is_unlimited() || rate.account.is_some();
        let streams = definition.streams().filter(|stream| limited(stream.rate()));
        Self {
            source: definition.name().to_owned(),
            rate: definition.rate().clone(),
            streams: streams.map(|stream| (stream.name().to_owned(), stream.rate().clone())).collect(),
            known: Mutex::default(),
        }
    }

    pub(crate) fn is_unlimited(&self) -> bool {
        self.rate.windows().is_unlimited() && self.rate.account.is_none() && self.streams.is_empty()
    }

    /// Requests a second that the source as a whole permits.
    pub(crate) fn sustained(&self) -> Option<f64> {
        self.rate.sustained()
    }

    /// Those that a request for this slice falls under, in the order in which they are locked; the app's
    /// is the first, if it has one.
    pub(crate) fn of(&self, slice: &Slice) -> Arc<[Arc<QuotaKey>]> {
        let mut keys = self.of_rate(&self.rate, &self.source, QuotaScope::App, &slice.account);
        if let Some(rate) = self.streams.get(&slice.stream) {
            let name = format!("{}.{}", self.source, slice.stream);
            keys.extend(self.of_rate(rate, &name, QuotaScope::Stream, &slice.account));
        }
        keys.sort_by(|a, b| a.name.cmp(&b.name));
        keys.into()
    }

    fn of_rate(&self, rate: &Rate, name: &str, scope: QuotaScope, account: &str) -> Vec<Arc<QuotaKey>> {
        let own = [(rate.windows(), name.to_owned(), scope)];
        let account = rate.account.map(|windows| (windows, format!("{name}@{account}"), QuotaScope::Account));
        let limited = own.into_iter().chain(account).filter(|(windows, ..)| !windows.is_unlimited());
        limited.map(|(windows, name, scope)| self.key(name, scope, windows)).collect()
    }

    fn key(&self, name: String, scope: QuotaScope, windows: Windows) -> Arc<QuotaKey> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = known.get(&name) {
            return key.clone();
        }
        let Windows { per_second, per_minute, per_day, burst } = windows;
        let limits = QuotaLimits { per_second, per_minute, per_day, burst: burst.unwrap_or(1) };
        let interval = windows.sustained().map_or(0.0, f64::recip);
        let key = Arc::new(QuotaKey::new(name.clone(), scope, limits, interval));
        known.insert(name, key.clone());
        key
    }
}

impl QuotaKey {
    pub(crate) fn new(name: String, scope: QuotaScope, limits: QuotaLimits, interval: f64) -> Self {
        Self { name, scope, limits, interval, epoch: AtomicI64::new(0) }
    }

    pub(crate) fn epoch(&self) -> i64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Notes an epoch that was seen.
    pub(crate) fn raise_epoch(&self, epoch: i64) {
        self.epoch.fetch_max(epoch, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::civil::date;

    use super::*;

    fn keys(overrides: &str) -> QuotaKeys {
        QuotaKeys::new(&Definition::load("xiaohongshu", overrides.parse().unwrap()).unwrap())
    }

    fn names(keys: &QuotaKeys, stream: &str) -> Vec<String> {
        let day = date(2026, 11, 24);
        let slice = Slice {
            source: "xiaohongshu".into(),
            stream: stream.into(),
            account: "1001".into(),
            from: day,
            to: day,
            part: BTreeMap::new(),
        };
        keys.of(&slice).iter().map(|key| key.name.clone()).collect()
    }

    #[test]
    fn a_request_falls_under_all_quotas_that_name_it() {
        let all = keys(
            "rate = { per_second = 50, account = { per_second = 5 } }\n\
             stream.note.rate = { per_minute = 60, account = { per_day = 100 } }",
        );
        assert_eq!(names(&all, "creative"), ["xiaohongshu", "xiaohongshu@1001"]);
        let note = ["xiaohongshu", "xiaohongshu.note", "xiaohongshu.note@1001", "xiaohongshu@1001"]
            .map(String::from);
        assert_eq!(names(&all, "note"), note);
    }

    #[test]
    fn without_limits_there_are_none() {
        let none = keys("rate = \"unlimited\"");
        assert!(none.is_unlimited() && names(&none, "creative").is_empty());
    }
}
