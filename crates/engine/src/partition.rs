//! Advances partitions. After the first page the other pages are published, or the partition is split; after
//! the last page the partition is proved, or pages are fetched again; what is proved is applied to the table.
//!
//! ```text
//! advance   after pages are done or dead, decide which of the steps below is next   advance.rs
//! expand    publish every page beyond the first                                    expand.rs
//! split     open parts of a partition that is too deep for the API's pages          split.rs
//! prove     prove the partition complete, or fetch pages again                     prove.rs
//! apply     put a proved attempt's rows into the table, and seal it                apply.rs
//! rescue    issue the missing pages of a stalled partition again                   rescue.rs
//! ```
//!
//! Every step is idempotent: any worker may ensure it, at any time.

mod advance;
pub mod apply;
mod expand;
mod prove;
pub mod rescue;
mod split;

use std::time::Duration;

use pagemill_core::{PageJob, Slice};
use pagemill_queue::{Address, Message, PageQueue};
use pagemill_store::{DataTable, PartitionRow, Store};
use tokio::sync::mpsc::UnboundedSender;

use crate::{app::App, error::ServiceError, sources::Sources};

/// Drives partitions to their seals, over one ledger and one queue: each step is a function.
#[derive(Clone)]
pub(crate) struct PartitionDriver<Q> {
    store: Store,
    queue: Q,
    sources: Sources,
    /// The most rounds in which pages are fetched again because the proof failed.
    repair_rounds: u32,
    /// True if responses are kept.
    keeps_responses: bool,
    /// Time within which an attempt must be applied.
    apply_at_most: Duration,
    expand_mode: ExpandMode,
}

/// When the pages beyond a first page are published.
#[derive(Clone)]
pub(crate) enum ExpandMode {
    /// As soon as the first page is stored.
    Immediate,
    /// Later, by the receiver, which expands several partitions in turn.
    Deferred(UnboundedSender<PartitionRow>),
}

impl<Q: PageQueue> PartitionDriver<Q> {
    /// A driver over an app, publishing to `queue`.
    pub(crate) fn new(app: &App, queue: Q, expand_mode: ExpandMode) -> Self {
        Self {
            store: app.store.clone(),
            queue,
            sources: app.sources.clone(),
            repair_rounds: app.settings.repair_rounds,
            keeps_responses: app.settings.keep_responses,
            apply_at_most: app.settings.apply_timeout.get(),
            expand_mode,
        }
    }

    /// Publishes jobs of one partition, or of its parts.
    async fn publish(&self, jobs: &[PageJob]) -> Result<(), ServiceError> {
        let Some(first) = jobs.first() else { return Ok(()) };
        let to = Address::Lane { source: first.slice.source.clone(), lane: first.lane };
        Ok(self.queue.publish(&to, jobs.iter().map(message)).await?)
    }

    /// The table of a slice's stream; `None` if this process does not pull the stream.
    fn table(&self, slice: &Slice) -> Option<&DataTable> {
        self.sources.get(&slice.source)?.tables.get(&slice.stream)
    }
}

/// A job as a message.
pub fn message(job: &PageJob) -> Message {
    Message { id: job.id(), body: job.encode(), note: None }
}
