//! The way of one page, in a straight line:
//!
//! ```text
//! intake     a delivery becomes a page job                                       intake.rs
//! attempt    on a worker: check the ledger if need be -> quota -> fetch          attempt.rs
//! batch      gather fetched pages into transactions                              batch.rs
//! conclude   record -> advance the partition -> decide -> apply to the delivery  conclude.rs
//! ```
//!
//! The pool between intake and batch holds N workers; [`Pipeline::run_session`] wires them up. A session
//! (session.rs) ends when the intake ends, when a stop comes, or when PostgreSQL or the quota permit no more.

mod attempt;
mod batch;
mod conclude;
mod counters;
mod dead_letters;
mod delivered;
mod intake;
#[cfg(test)]
pub(crate) mod parts;
mod quarantine;
mod record;
mod session;

use std::sync::Arc;

use pagemill_core::{SettlementPolicy, Sizing};
use pagemill_pool::Pool;
use pagemill_queue::PageQueue;
use pagemill_store::{PartitionRow, Store};
use tokio::sync::{
    Semaphore,
    mpsc::{UnboundedReceiver, unbounded_channel},
};

pub use self::{
    counters::{Counters, Counts},
    intake::Intake,
    session::SessionError,
};
use self::{
    delivered::DeliveredJob,
    quarantine::Quarantine,
    session::{BusyWorkers, Session},
};
use crate::{
    app::App,
    config::ConsumerSettings,
    partition::{ExpandMode, PartitionDriver},
    sources::Sources,
    stop::Stop,
};

/// The pipeline of one process: everything that a page needs from its delivery to its ack.
pub struct Pipeline<Q> {
    store: Store,
    /// Where retries, dead letters and expanded partitions are published.
    pub(crate) queue: Q,
    sources: Sources,
    settings: Arc<ConsumerSettings>,
    policy: SettlementPolicy,
    partitions: PartitionDriver<Q>,
    /// Counts of pages, rows and requests so far.
    pub counters: Arc<Counters>,
    quarantine: Quarantine,
    /// Bounds the transactions that run at a time.
    writers: Arc<Semaphore>,
}

impl<Q: PageQueue> Pipeline<Q> {
    /// A consumer's pipeline, publishing to `queue`.
    pub fn consumer(app: &App, queue: Q) -> Arc<Self> {
        Arc::new(Self::new(app, queue, ExpandMode::Immediate, false))
    }

    /// A producer's pipeline. It hands over the partitions whose first pages are stored, so that several are
    /// published in turn; and it leaves to the consumers what has to wait for long.
    pub(crate) fn producer(app: &App, queue: Q) -> (Arc<Self>, UnboundedReceiver<PartitionRow>) {
        let (sender, expansions) = unbounded_channel();
        (Arc::new(Self::new(app, queue, ExpandMode::Deferred(sender), true)), expansions)
    }

    /// Works on what the intake delivers until the intake ends or the stop comes: draining ends the intake,
    /// cancelling returns what runs. Every delivery is then settled or returned to its queue.
    ///
    /// # Errors
    /// [`SessionError`] when PostgreSQL, the broker or the quota permit no more.
    pub async fn run_session(
        self: &Arc<Self>,
        intake: Intake,
        sizing: Sizing,
        stop: &Stop,
    ) -> Result<(), SessionError> {
        if let Err(error) = self.quarantine.clear_start_marks(&self.store).await {
            return Err(SessionError::Failed(error.into()));
        }
        let session = Session::new(stop);
        let workers = sizing.workers as usize;
        let busy = BusyWorkers::default();
        let (pipeline, busy_workers) = (self.clone(), busy.clone());
        let Pool { jobs, results } = Pool::builder()
            .cancellation_token(session.stop.cancellation())
            .workers(workers)
            .jobs(workers)
            .results(workers + self.settings.batch_pages as usize)
            .start(move |page: &DeliveredJob| {
                let (pipeline, busy) = (pipeline.clone(), busy_workers.begin());
                Box::pin(async move {
                    let attempt = attempt::attempt(&pipeline, page).await;
                    drop(busy);
                    attempt
                })
            });
        let taking = tokio::spawn(intake::take(self.clone(), intake, jobs, session.clone()));
        batch::gather(self, results, &busy, &session).await;
        if let Err(error) = taking.await {
            tracing::error!(%error, "the intake failed");
        }
        self.sources.finish_refreshes().await;
        session.result()
    }

    fn new(app: &App, queue: Q, expand_mode: ExpandMode, snooze_exhausted: bool) -> Self {
        Self {
            store: app.store.clone(),
            partitions: PartitionDriver::new(app, queue.clone(), expand_mode),
            queue,
            sources: app.sources.clone(),
            settings: app.settings.clone(),
            policy: SettlementPolicy { schedule: app.settings.schedule(), snooze_exhausted },
            counters: Arc::default(),
            quarantine: Quarantine::default(),
            writers: Arc::new(Semaphore::new(app.settings.writers as usize)),
        }
    }
}
