//! The way in.

use std::fmt;
use std::sync::Arc;

use crate::queue::Queue;

/// The way into a pool. Clones share one bounded queue; dropping the last one [closes](Jobs::close) it.
pub struct Jobs<J> {
    intake: Arc<Intake<J>>,
}

impl<J> Jobs<J> {
    pub(crate) fn new(queue: Arc<Queue<J>>) -> Self {
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

    /// Hands in one job if there is room for it now.
    ///
    /// # Errors
    ///
    /// [`Refused`] gives the job back: there is no room, or the pool takes no more.
    pub fn try_submit(&self, job: J) -> Result<(), Refused<J>> {
        self.intake.queue.try_submit(job)
    }

    /// Ends the intake for every clone: nothing is accepted once this has returned. What is buffered is
    /// still worked on, and the results end after it.
    pub fn close(&self) {
        self.intake.queue.close();
    }

    /// Whether the intake has ended, by whatever means.
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
    queue: Arc<Queue<J>>,
}

impl<J> Drop for Intake<J> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The pool takes no more jobs; here is yours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Closed<J>(pub J);

impl<J> fmt::Debug for Closed<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Closed").finish_non_exhaustive()
    }
}

impl<J> fmt::Display for Closed<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pool takes no more jobs")
    }
}

impl<J> std::error::Error for Closed<J> {}

/// Why [`Jobs::try_submit`] gave the job back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refused<J> {
    /// No room now: try later, or wait with [`Jobs::submit`].
    Full(J),
    /// The pool takes no more jobs.
    Closed(J),
}

impl<J> Refused<J> {
    /// The job, whatever the reason.
    pub fn into_job(self) -> J {
        match self {
            Self::Full(job) | Self::Closed(job) => job,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Full(_) => "the pool has no room for the job now",
            Self::Closed(_) => "the pool takes no more jobs",
        }
    }
}

impl<J> fmt::Debug for Refused<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.debug_tuple("Full").finish_non_exhaustive(),
            Self::Closed(_) => f.debug_tuple("Closed").finish_non_exhaustive(),
        }
    }
}

impl<J> fmt::Display for Refused<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl<J> std::error::Error for Refused<J> {}
