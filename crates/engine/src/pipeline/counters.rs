use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one process so far, for progress bars and logs. The ledger is the truth.
#[derive(Debug, Default)]
pub struct Counters {
    pages: AtomicU64,
    rows: AtomicU64,
    requests: AtomicU64,
    throttled: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Pages stored.
    pub pages: u64,
    /// Rows in them.
    pub rows: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests that the API throttled.
    pub throttled: u64,
}

impl Counters {
    pub(super) fn stored(&self, rows: usize) {
        self.pages.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn throttled(&self) {
        self.throttled.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters now.
    pub fn read(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            pages: get(&self.pages),
            rows: get(&self.rows),
            requests: get(&self.requests),
            throttled: get(&self.throttled),
        }
    }
}
