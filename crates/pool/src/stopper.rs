//! The two-stage stop.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::within;
use crate::monitor::LET_GO;

/// Stops a pool: first the intake, then the work. Clones stop the same pool; dropping one does nothing.
///
/// Only an await is a place where a handler can be cancelled. One that blocks its thread keeps that
/// thread of the runtime until it returns by itself, whatever is called here. The stop does not wait
/// for it: the results end half a second after the cancel, the job is counted in [`Stopped::stuck`],
/// and an outcome that still comes is dropped with a warning in the log. The job can't be handed back,
/// because the handler is still reading it. Give such work to [`blocking`](crate::blocking()).
///
/// Two things the pool cannot do for you then: on a current-thread runtime nothing at all runs beside a
/// handler that blocks, so a stop on that runtime waits for it too; and dropping any runtime waits for its
/// threads, so leave by `Runtime::shutdown_background` or `std::process::exit`.
#[derive(Clone)]
pub struct Stopper {
    stages: Arc<dyn Stages>,
}

/// How a pool stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// How many accepted jobs have no outcome, because their handlers block their threads (or because
    /// the runtime shut down under the pool). Usually 0: then every accepted job has an outcome.
    pub stuck: usize,
}

impl Stopper {
    pub(crate) fn new(stages: Arc<dyn Stages>) -> Self {
        Self { stages }
    }

    /// Stage one: nothing more is taken in, what is buffered is still worked on.
    pub fn drain(&self) {
        self.stages.drain();
    }

    /// Stage two: running futures are dropped at their next await and their jobs come back as
    /// [`Outcome::Returned`](crate::Outcome::Returned), and so do buffered jobs. No outcome waits for
    /// room any more: the results then hold at most workers + `jobs` outcomes beyond their capacity.
    pub fn cancel(&self) {
        self.stages.cancel();
    }

    /// Both stages: drains, waits at most `grace` for the pool to finish by itself, then cancels.
    ///
    /// Returns when no job is under way, at the latest half a second after `grace`: also if no handler
    /// ever ends, if the results are full and nobody reads them, or if handlers block their threads.
    /// The outcomes can be read before, meanwhile or afterwards. [`Stopper::cancel`] on a clone cuts the
    /// grace short. Dropping this future leaves the pool draining.
    ///
    /// # Panics
    ///
    /// On a current-thread runtime built without `enable_time`.
    pub async fn stop(&self, grace: Duration) -> Stopped {
        self.drain();
        if let Some(stopped) = within(grace, self.stopped()).await {
            return stopped;
        }
        self.cancel();
        if let Some(stopped) = within(LET_GO, self.stopped()).await {
            return stopped;
        }
        // The monitor says the same, unless no thread is left to run it.
        self.stages.end()
    }

    /// Waits until the pool has stopped, for whatever reason: the last worker has gone, or stuck ones
    /// were given up. The outcomes may still be unread.
    pub async fn stopped(&self) -> Stopped {
        let mut stopped = self.stages.stopped();
        match stopped.wait_for(Option::is_some).await {
            Ok(stopped) => stopped.expect("waited for"),
            Err(_) => unreachable!("the sender lives as long as this stopper"),
        }
    }
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopper").field("stopped", &*self.stages.stopped().borrow()).finish_non_exhaustive()
    }
}

/// The stages of a pool, without the types of its jobs and results.
pub(crate) trait Stages: Send + Sync {
    fn drain(&self);
    fn cancel(&self);
    /// Cancels, and ends the results now; what is still under way is stuck.
    fn end(&self) -> Stopped;
    fn stopped(&self) -> watch::Receiver<Option<Stopped>>;
}
