//! The way in.

use std::fmt;
use std::sync::Arc;

use crate::job_queue::{Closed, JobQueue};

/// The way into a pool. Clones share one bounded queue; dropping the last one [closes](Jobs::close) it.
pub struct Jobs<J> {
    intake: Arc<Intake<J>>,
}

impl<J> Jobs<J> {
    pub(crate) fn new(queue: Arc<JobQueue<J>>) -> Self {
        Self { intake: Arc::new(Intake { queue }) }
    }

    /// Hands in one job, waiting for room in turn with everyone else who waits. `Ok` means that the job
    /// is accepted and will have an outcome.
    ///
    /// Dropping this future before it ends takes the job with it: it was never submitted.
    ///
    /// # Errors
    ///
    /// [`Closed`] gives the job back when the pool takes no more, also if that happens while waiting.
    pub async fn submit(&self, job: J) -> Result<(), Closed<J>> {
        self.intake.queue.submit(job).await
    }

    /// Ends the intake for every clone: nothing is accepted once this has returned. What is buffered is
    /// still worked on, and the results end after it: the pool drains.
    pub fn close(&self) {
        self.intake.queue.close();
    }

    /// True once the intake has ended, by whatever means.
    pub fn is_closed(&self) -> bool {
        self.intake.queue.is_closed()
    }
}

impl<J> Clone for Jobs<J> {
    fn clone(&self) -> Self {
        Self { intake: Arc::clone(&self.intake) }
    }
}

impl<J> fmt::Debug for Jobs<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

/// What all clones of [`Jobs`] share, to notice the last one going.
struct Intake<J> {
    queue: Arc<JobQueue<J>>,
}

impl<J> Drop for Intake<J> {
    fn drop(&mut self) {
        self.queue.close();
    }
}
