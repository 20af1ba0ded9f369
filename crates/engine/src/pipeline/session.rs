//! One go of the pipeline, from the first delivery until everything is settled.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pagemill_core::Sizing;
use pagemill_pool::Pool;
use pagemill_queue::PageQueue;

use super::{Pipeline, attempt, batch, delivered::DeliveredJob, intake, intake::Intake};
use crate::{error::ServiceError, stop::Stop};

/// How a session ended. Everything is settled or returned to its queue.
#[derive(Debug)]
pub enum Ended {
    /// The intake ended, or a stop came.
    Drained,
    /// PostgreSQL or the broker cannot be used.
    Failed(ServiceError),
    /// The source's quota is used up for so long.
    QuotaExhausted(Duration),
}

/// A session as seen by what runs in it: any part can end it early.
#[derive(Clone)]
pub(super) struct Session {
    /// It follows the stop of whoever runs the session, and comes early when a part ends the session.
    pub(super) stop: Stop,
    early_end: Arc<Mutex<Option<EarlyEnd>>>,
}

enum EarlyEnd {
    Failed(ServiceError),
    QuotaExhausted(Duration),
}

/// How many workers have a job.
#[derive(Clone, Default)]
pub(super) struct BusyWorkers(Arc<AtomicUsize>);

/// One of the busy workers.
struct BusyWorker(BusyWorkers);

impl<Q: PageQueue> Pipeline<Q> {
    /// Works on what the intake delivers until the intake ends, PostgreSQL cannot be used, or the stop
    /// comes: draining ends the intake, cancelling returns what runs.
    pub async fn run(self: &Arc<Self>, intake: Intake, sizing: Sizing, stop: &Stop) -> Ended {
        if let Err(error) = self.quarantine.clear_start_marks(&self.store).await {
            return Ended::Failed(error.into());
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
        session.ended()
    }
}

impl Session {
    fn new(stop: &Stop) -> Self {
        Self { stop: stop.child(), early_end: Arc::default() }
    }

    /// Ends the session: nothing more is taken, and what runs is cancelled and returned.
    pub(super) fn fail(&self, error: ServiceError) {
        let mut end = self.early_end();
        if !matches!(*end, Some(EarlyEnd::Failed(_))) {
            *end = Some(EarlyEnd::Failed(error));
        }
        self.stop.cancel();
    }

    /// Ends the session: nothing more is taken. A worker that has its slot may finish.
    pub(super) fn exhaust_quota(&self, wait: Duration) {
        self.early_end().get_or_insert(EarlyEnd::QuotaExhausted(wait));
        self.stop.drain();
    }

    fn ended(self) -> Ended {
        match self.early_end().take() {
            None => Ended::Drained,
            Some(EarlyEnd::Failed(error)) => Ended::Failed(error),
            Some(EarlyEnd::QuotaExhausted(wait)) => Ended::QuotaExhausted(wait),
        }
    }

    fn early_end(&self) -> MutexGuard<'_, Option<EarlyEnd>> {
        self.early_end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BusyWorkers {
    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn begin(&self) -> BusyWorker {
        self.0.fetch_add(1, Ordering::Relaxed);
        BusyWorker(self.clone())
    }
}

impl Drop for BusyWorker {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
