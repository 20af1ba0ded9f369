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
pub(crate) struct DeliveredJob {
    pub(crate) delivery: Delivery,
    pub(crate) job: PageJob,
    /// True if the ledger holds a mark that this job was started; see [`super::quarantine`].
    start_marked: AtomicBool,
    /// The time at which the request was sent.
    pub(crate) sent_at: OnceLock<Instant>,
}

impl DeliveredJob {
    pub(crate) fn new(delivery: Delivery, job: PageJob) -> Self {
        Self { delivery, job, start_marked: AtomicBool::new(false), sent_at: OnceLock::new() }
    }

    pub(crate) fn mark_start(&self) {
        self.start_marked.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_start_marked(&self) -> bool {
        self.start_marked.load(Ordering::Relaxed)
    }
}
