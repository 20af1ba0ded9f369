//! One go of the pipeline, from the first delivery until everything is settled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pagemill_core::Sizing;
use pagemill_pool::Pool;
use pagemill_queue::PageQueue;
use tokio::sync::watch;

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
pub(super) struct Session(Arc<watch::Sender<Option<EarlyEnd>>>);

#[derive(Clone, Debug)]
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
        let session = Session::default();
        let workers = sizing.workers as usize;
        let busy = BusyWorkers::default();
        let (pipeline, busy_workers) = (self.clone(), busy.clone());
        let Pool { jobs, results, stopper } = Pool::builder()
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
        let taking = tokio::spawn(intake::take(self.clone(), intake, jobs, session.clone(), stop.clone()));
        let cancelling = {
            let (session, stop) = (session.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = session.failed() => {}
                }
                stopper.cancel();
            })
        };
        batch::gather(self, results, &busy, &session).await;
        if let Err(error) = taking.await {
            tracing::error!(%error, "the intake failed");
        }
        cancelling.abort();
        self.sources.settle().await;
        session.into_ended()
    }
}

impl Session {
    /// Ends the session: nothing more is taken, and what runs is cancelled and returned.
    pub(super) fn fail(&self, error: ServiceError) {
        self.end(EarlyEnd::Failed(error));
    }

    /// Ends the session: nothing more is taken. A worker that has its slot may finish.
    pub(super) fn exhaust_quota(&self, wait: Duration) {
        self.end(EarlyEnd::QuotaExhausted(wait));
    }

    /// The first reason to end counts, but a failure outweighs a quota.
    fn end(&self, end: EarlyEnd) {
        self.0.send_if_modified(|now| {
            let counts = match now {
                None => true,
                Some(EarlyEnd::QuotaExhausted(_)) => matches!(end, EarlyEnd::Failed(_)),
                Some(EarlyEnd::Failed(_)) => false,
            };
            if counts {
                *now = Some(end);
            }
            counts
        });
    }

    /// Returns once the session was ended.
    pub(super) async fn ended(&self) {
        // This session holds the sender, so it cannot be gone.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }

    /// Returns once what runs has no use any more.
    async fn failed(&self) {
        let failed = |end: &Option<EarlyEnd>| matches!(end, Some(EarlyEnd::Failed(_)));
        let _ = self.0.subscribe().wait_for(failed).await;
    }

    fn into_ended(self) -> Ended {
        match &*self.0.borrow() {
            None => Ended::Drained,
            Some(EarlyEnd::Failed(error)) => Ended::Failed(error.clone()),
            Some(EarlyEnd::QuotaExhausted(wait)) => Ended::QuotaExhausted(*wait),
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self(Arc::new(watch::channel(None).0))
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
