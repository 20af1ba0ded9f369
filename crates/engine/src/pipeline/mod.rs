//! One page's way, in a straight line:
//!
//! ```text
//! intake     a delivery becomes work                                  intake.rs
//! worker     check the ledger if it may be a copy -> quota -> fetch   fetch.rs
//! collector  gather pages, one transaction = ledger + rows            collect.rs
//! follow up  expand after a first page, seal after the last           follow.rs
//! settle     ack | retry later | dead-letter | give back              settle.rs
//! ```
//!
//! The pool between intake and collector holds N workers; [`Pipeline::run`] wires it up.

mod collect;
mod counters;
mod fetch;
mod follow;
mod gate;
mod intake;
mod settle;
mod suspicion;

use std::{
    future::Future,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use pagemill_core::{PageJob, RetrySchedule, Sizing};
use pagemill_pool::Pool;
use pagemill_queue::{Delivery, Message, PageQueue};
use pagemill_store::{PartitionRow, Store};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use self::follow::Follow;
pub use self::{counters::Counters, intake::Intake};
use self::{gate::Gate, suspicion::Innocent};
use crate::{
    app::App,
    config::Consumer,
    sources::Sources,
    stop::{Stage, Stop},
};

/// Everything that a page meets on its way.
pub struct Pipeline<Q> {
    pub(crate) store: Store,
    /// Where retries, dead letters and expanded partitions are published.
    pub(crate) queue: Q,
    pub(crate) sources: Sources,
    pub(crate) settings: Arc<Consumer>,
    pub(crate) schedule: RetrySchedule,
    /// What has happened so far.
    pub counters: Arc<Counters>,
    gate: Gate,
    innocent: Innocent,
    /// Transactions at a time.
    writers: Arc<Semaphore>,
    /// The producer's: partitions to be published when it is known which others there are. `None`: each
    /// at once.
    held_back: Option<Mutex<Vec<PartitionRow>>>,
}

/// A delivery on its way, and the job in it.
struct Work {
    delivery: Delivery,
    job: PageJob,
    /// Whether its start was recorded as suspicion, to be cleared if it is given back.
    marked: std::sync::atomic::AtomicBool,
    /// When its request was sent.
    sent: OnceLock<Instant>,
}

/// How a pipeline ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its intake ended, or it was stopped; everything is settled or given back.
    Drained,
    /// PostgreSQL cannot be used: everything was given back, try again when it is there.
    Unavailable(String),
    /// The source permits nothing for so long: everything was given back.
    Shut(Duration),
}

/// Why a page's outcome cannot be recorded now.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Trouble(String);

/// How many workers have a job.
#[derive(Clone, Default)]
struct Working(Arc<AtomicUsize>);

/// One of them.
struct AtWork(Working);

/// Shared by what runs in one go of the pipeline: who notices trouble ends it.
#[derive(Clone)]
struct Session(Arc<watch::Sender<Option<End>>>);

/// Why it ends before its time.
#[derive(Clone, Debug)]
enum End {
    Unavailable(String),
    Shut(Duration),
}

impl<Q: PageQueue> Pipeline<Q> {
    /// A pipeline over an app, publishing to `queue`.
    pub fn new(app: &App, queue: Q) -> Arc<Self> {
        Self::built(app, queue, None)
    }

    /// The producer's: it holds partitions back, so that they can be published in turn, and hands on to
    /// the consumers what has to wait for long.
    pub fn of_producer(app: &App, queue: Q) -> Arc<Self> {
        Self::built(app, queue, Some(Mutex::default()))
    }

    fn built(app: &App, queue: Q, held_back: Option<Mutex<Vec<PartitionRow>>>) -> Arc<Self> {
        Arc::new(Self {
            store: app.store.clone(),
            queue,
            sources: app.sources.clone(),
            settings: app.settings.clone(),
            schedule: app.settings.schedule(),
            counters: Arc::default(),
            gate: Gate::default(),
            innocent: Innocent::default(),
            writers: Arc::new(Semaphore::new(app.settings.writers as usize)),
            held_back,
        })
    }

    /// Takes the partitions that were held back.
    pub fn take_held_back(&self) -> Vec<PartitionRow> {
        let held = self.held_back.as_ref();
        held.map(|held| std::mem::take(&mut *held.lock().unwrap_or_else(PoisonError::into_inner)))
            .unwrap_or_default()
    }

    /// Works on what the intake delivers until it ends, PostgreSQL cannot be used, or the stop
    /// comes: draining ends the intake, cancelling returns what runs.
    pub async fn run(self: &Arc<Self>, intake: Intake, sizing: Sizing, stop: &Stop) -> Ended {
        if let Err(error) = self.innocent.acquit(&self.store).await {
            return Ended::Unavailable(error.to_string());
        }
        let session = Session::default();
        let workers = sizing.workers as usize;
        let working = Working::default();
        let (pipeline, at_work) = (self.clone(), working.clone());
        let cancellation = CancellationToken::new();
        let Pool { jobs, results } = Pool::builder()
            .cancellation_token(cancellation.clone())
            .workers(workers)
            .jobs(workers)
            .results(workers + self.settings.batch_pages as usize)
            .start(move |work: &Work| {
                let (pipeline, at_work) = (pipeline.clone(), at_work.begin());
                Box::pin(async move {
                    let fetched = fetch::fetch_page(&pipeline, work).await;
                    drop(at_work);
                    fetched
                })
            });

        let taking = tokio::spawn(intake::take(self.clone(), intake, jobs, session.clone(), stop.clone()));
        let cancel = {
            let (session, stop) = (session.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.reached(Stage::Cancelled) => {}
                    () = session.broken() => {}
                }
                cancellation.cancel();
            })
        };
        collect::collect(self, results, &working, &session).await;
        if let Err(error) = taking.await {
            tracing::error!(%error, "the intake failed");
        }
        cancel.abort();
        self.sources.settle().await;
        match session.end_seen() {
            None => Ended::Drained,
            Some(End::Unavailable(why)) => Ended::Unavailable(why),
            Some(End::Shut(wait)) => Ended::Shut(wait),
        }
    }

    /// Whether a rate sets the pace at which a source's pages come.
    fn is_paced(&self, source: &str) -> bool {
        self.sources.get(source).is_some_and(|source| source.quota.per_second().is_some())
    }

    fn publish_job(
        &self,
        to: pagemill_queue::Address,
        job: &PageJob,
    ) -> impl Future<Output = Result<(), Trouble>> + Send + '_ {
        let message = message(job);
        async move { Ok(self.queue.publish(&to, [message]).await?) }
    }
}

/// A job as a message.
pub fn message(job: &PageJob) -> Message {
    Message { id: job.id(), body: job.encode(), note: None }
}

impl Working {
    fn begin(&self) -> AtWork {
        self.0.fetch_add(1, Ordering::Relaxed);
        AtWork(self.clone())
    }

    fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Session {
    fn default() -> Self {
        Self(Arc::new(watch::channel(None).0))
    }
}

impl Session {
    /// Ends this go of the pipeline: nothing more is taken; what runs is cancelled and given back if
    /// PostgreSQL is away.
    fn end(&self, end: End) {
        self.0.send_if_modified(|now| {
            let news = match now {
                None => true,
                Some(End::Shut(_)) => matches!(end, End::Unavailable(_)),
                Some(End::Unavailable(_)) => false,
            };
            if news {
                *now = Some(end);
            }
            news
        });
    }

    async fn ended(&self) {
        // This session holds the sender, so it cannot be gone.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }

    /// It ended, and what runs has no use. A quota that is shut lets those finish who have their slot.
    async fn broken(&self) {
        let broken = |end: &Option<End>| matches!(end, Some(End::Unavailable(_)));
        let _ = self.0.subscribe().wait_for(broken).await;
    }

    fn end_seen(&self) -> Option<End> {
        self.0.borrow().clone()
    }
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self::Unavailable(trouble.0)
    }
}

impl From<pagemill_store::StoreError> for Trouble {
    fn from(error: pagemill_store::StoreError) -> Self {
        Self(error.to_string())
    }
}

impl From<pagemill_queue::QueueError> for Trouble {
    fn from(error: pagemill_queue::QueueError) -> Self {
        Self(error.to_string())
    }
}
