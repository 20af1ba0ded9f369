use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use pagemill_core::PageJob;
use pagemill_queue::Delivery;

/// A page job on its way, and the delivery that it came by.
#[derive(Debug)]
pub(super) struct DeliveredJob {
    pub(super) delivery: Delivery,
    pub(super) job: PageJob,
    /// True if the ledger holds a mark that this job was started; see [`super::quarantine`].
    start_marked: AtomicBool,
    /// The time at which the request was sent.
    pub(super) sent_at: OnceLock<Instant>,
}

impl DeliveredJob {
    pub(super) fn new(delivery: Delivery, job: PageJob) -> Self {
        Self { delivery, job, start_marked: AtomicBool::new(false), sent_at: OnceLock::new() }
    }

    pub(super) fn mark_start(&self) {
        self.start_marked.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_start_marked(&self) -> bool {
        self.start_marked.load(Ordering::Relaxed)
    }
}
