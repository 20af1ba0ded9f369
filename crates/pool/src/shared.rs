//! What all parts of one pool share: the queue of jobs, the queue of outcomes, the cancellation token,
//! and how many workers there are.

use std::sync::Arc;
use std::time::Duration;

use crate::job_queue::JobQueue;
use crate::outcome_queue::OutcomeQueue;
use crate::sync::{CancellationToken, sleep, watch};

/// How long a cancelled pool waits for its workers. One that polls a blocked future takes longer, and
/// is not waited for.
const CANCEL_TIMEOUT: Duration = Duration::from_millis(500);

pub(crate) struct Shared<J, R> {
    pub(crate) jobs: Arc<JobQueue<J>>,
    pub(crate) outcomes: OutcomeQueue<J, R>,
    pub(crate) cancellation: CancellationToken,
    pub(crate) workers: watch::Sender<usize>,
}

impl<J, R> Shared<J, R> {
    pub(crate) fn new(jobs: usize, results: usize, cancellation: CancellationToken) -> Self {
        Self {
            jobs: Arc::new(JobQueue::new(jobs)),
            outcomes: OutcomeQueue::new(results),
            cancellation,
            workers: watch::channel(0).0,
        }
    }

    /// Resolves once the last worker has gone.
    pub(crate) async fn workers_gone(&self) {
        // An error says that the sender has gone: it lives in `self`.
        let _ = self.workers.subscribe().wait_for(|workers| *workers == 0).await;
    }

    /// Resolves when a cancelled pool has waited for its workers long enough. Cancelling a token calls
    /// nobody, so whoever waits here does what a cancel does to the queues.
    pub(crate) async fn cancel_deadline(&self) {
        self.cancellation.cancelled().await;
        self.cancel();
        sleep(CANCEL_TIMEOUT).await;
    }

    /// Drops what runs, returns what is buffered, and lifts the bound of the outcomes.
    pub(crate) fn cancel(&self) {
        self.cancellation.cancel();
        self.outcomes.return_jobs(|| self.jobs.clear());
    }

    /// Cancels, and ends the results now; what is still under way is stuck.
    pub(crate) fn end(&self) {
        self.cancel();
        self.outcomes.end(self.jobs.taken());
    }
}

/// Counts one worker, however its task ends.
pub(crate) struct WorkerGuard<J, R>(Arc<Shared<J, R>>);

impl<J, R> WorkerGuard<J, R> {
    pub(crate) fn new(shared: &Arc<Shared<J, R>>) -> Self {
        shared.workers.send_modify(|workers| *workers += 1);
        Self(Arc::clone(shared))
    }

    pub(crate) fn shared(&self) -> &Shared<J, R> {
        &self.0
    }
}

impl<J, R> Drop for WorkerGuard<J, R> {
    fn drop(&mut self) {
        self.0.workers.send_modify(|workers| *workers -= 1);
    }
}
