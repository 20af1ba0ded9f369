//! The way out.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::job_outcome::JobOutcome;
use crate::outcome_queue::Popped;
use crate::shared::Shared;

/// The outcomes of a pool, for one reader, in the order in which they came about.
///
/// Read it to its end: once its buffer is full the workers wait for the reader. Dropping it cancels the
/// pool, because nobody would learn how a job ended. The pool then drops the jobs that it holds. If a
/// handler blocks, only the job of that handler is held until the handler returns.
#[must_use = "dropping the results cancels the pool"]
pub struct Results<J, R> {
    pub(crate) shared: Arc<Shared<J, R>>,
    /// The monitor's deadline again: the reader keeps it where no thread is left to run the monitor.
    cancel_deadline: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<J: Send + 'static, R: Send + 'static> Results<J, R> {
    pub(crate) fn new(shared: Arc<Shared<J, R>>) -> Self {
        let watched = Arc::clone(&shared);
        Self { shared, cancel_deadline: Some(Box::pin(async move { watched.cancel_deadline().await })) }
    }
}

impl<J, R> Results<J, R> {
    /// The next outcome; `None` once the last worker has gone and everything was handed over, or, if
    /// workers are stuck, half a second after the cancel (see [`Results::stuck`]).
    ///
    /// Cancel safe: a dropped `next` loses nothing.
    pub async fn next(&mut self) -> Option<JobOutcome<J, R>> {
        loop {
            match self.shared.outcomes.pop() {
                Popped::Outcome(outcome) => return Some(outcome),
                Popped::Ended => return None,
                Popped::Empty => self.changed().await,
            }
        }
    }

    /// How many accepted jobs have no outcome, because their handlers block their threads (or because
    /// the runtime shut down under the pool). Known once [`Results::next`] has returned `None`; usually
    /// 0: then every accepted job has an outcome.
    pub fn stuck(&self) -> usize {
        self.shared.outcomes.stuck()
    }

    async fn changed(&mut self) {
        let Some(cancel_deadline) = &mut self.cancel_deadline else {
            return self.shared.outcomes.changed().await;
        };
        tokio::select! {
            biased;
            () = self.shared.outcomes.changed() => {}
            () = cancel_deadline => {
                self.cancel_deadline = None;
                self.shared.end();
            }
        }
    }
}

impl<J, R> Drop for Results<J, R> {
    fn drop(&mut self) {
        self.shared.outcomes.leave_unread();
        self.shared.cancel();
    }
}

impl<J, R> fmt::Debug for Results<J, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").finish_non_exhaustive()
    }
}
