//! The pool and its settings.

use std::sync::Arc;

use crate::jobs::Jobs;
use crate::results::Results;
use crate::shared::{Shared, WorkerGuard};
use crate::sync::{CancellationToken, Semaphore, spawn};
use crate::worker::BoxFuture;
use crate::{monitor, worker};

const WORKERS: usize = 4;
const JOBS: usize = 100;
const RESULTS: usize = 100;

/// A running pool, in two parts that usually go to two places.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use pagemill_pool::{JobOutcome, Pool};
///
/// let Pool { jobs, mut results } =
///     Pool::builder().workers(2).start(|word: &String| Box::pin(async move { word.len() }));
///
/// jobs.submit("page".to_owned()).await.unwrap();
/// drop(jobs);
/// assert_eq!(results.next().await, Some(JobOutcome::Done { job: "page".to_owned(), result: 4 }));
/// assert_eq!(results.next().await, None);
/// assert_eq!(results.stuck(), 0);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a pool without a reader of its results is cancelled"]
pub struct Pool<J, R> {
    /// The way in, to be cloned for as many submitters as there are.
    pub jobs: Jobs<J>,
    /// The way out, for one reader.
    pub results: Results<J, R>,
}

impl Pool<(), ()> {
    /// The settings of a pool to start: 4 workers, 100 buffered jobs and 100 buffered outcomes unless
    /// said otherwise.
    pub fn builder() -> Builder {
        Builder { workers: WORKERS, jobs: JOBS, results: RESULTS, cancellation: CancellationToken::new() }
    }
}

/// The settings of a pool.
#[derive(Clone, Debug)]
#[must_use = "nothing runs before `start`"]
pub struct Builder {
    workers: usize,
    jobs: usize,
    results: usize,
    cancellation: CancellationToken,
}

impl Builder {
    /// The number of workers: at most so many jobs run at once.
    ///
    /// # Panics
    ///
    /// If `workers` is 0.
    pub fn workers(mut self, workers: usize) -> Self {
        assert!(workers > 0, "a pool needs a worker");
        self.workers = workers;
        self
    }

    /// The most jobs that wait, beside those that run; then [`Jobs::submit`] waits.
    ///
    /// # Panics
    ///
    /// If `jobs` is 0.
    pub fn jobs(mut self, jobs: usize) -> Self {
        assert!(jobs > 0, "a pool needs room for a job");
        self.jobs = jobs.min(Semaphore::MAX_PERMITS);
        self
    }

    /// The most outcomes that wait for the reader; then the workers wait with theirs.
    ///
    /// # Panics
    ///
    /// If `results` is 0.
    pub fn results(mut self, results: usize) -> Self {
        assert!(results > 0, "a pool needs room for an outcome");
        self.results = results.min(Semaphore::MAX_PERMITS);
        self
    }

    /// The token that cancels the pool, from anywhere: running futures are dropped at their next await
    /// and their jobs come back as [`JobOutcome::Returned`](crate::JobOutcome::Returned), and so do
    /// buffered jobs; the intake ends. No outcome waits for room any more: the results then hold at most
    /// workers + `jobs` outcomes beyond their capacity. Jobs that are submitted in this moment are
    /// returned or refused. The pool never cancels the token itself.
    ///
    /// Only an await is a place where a handler can be cancelled. One that blocks its thread keeps that
    /// thread of the runtime until it returns. A cancelled pool does not wait for it: the results end
    /// half a second later, the job is counted by [`Results::stuck`], and an outcome that still comes is
    /// dropped with a warning in the log. The job can't be returned, because the handler is still reading
    /// it. Give such work to [`spawn_blocking`](tokio::task::spawn_blocking).
    ///
    /// Two things the pool cannot do for you then: on a current-thread runtime nothing at all runs beside
    /// a handler that blocks, so a cancel on that runtime waits for it too; and dropping any runtime waits
    /// for its threads, so leave by `Runtime::shutdown_background` or `std::process::exit`.
    pub fn cancellation_token(mut self, token: CancellationToken) -> Self {
        self.cancellation = token;
        self
    }

    /// Starts the workers on the current tokio runtime, of either flavour.
    ///
    /// The worker owns each job and lends it to the future that `handler` makes of it, so the job is
    /// still there after a panic or a cancel. `handler` runs on the worker, so it too must not block.
    ///
    /// The first pool of a program puts a panic hook before the one it finds. The hook speaks only for
    /// threads inside a handler: it notes the place of the panic, which is then logged once, by
    /// `tracing::error!`, with a backtrace where `RUST_BACKTRACE` requires one. All other panics go to
    /// the hook that was there.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime. The pool's tasks also need the runtime's clock (`enable_time`) if it is a
    /// current-thread one.
    pub fn start<J, R, F>(self, handler: F) -> Pool<J, R>
    where
        J: Send + Sync + 'static,
        R: Send + 'static,
        F: for<'a> Fn(&'a J) -> BoxFuture<'a, R> + Send + Sync + 'static,
    {
        let cancellation = self.cancellation.child_token();
        let shared = Arc::new(Shared::new(self.jobs, self.results, cancellation));
        let handler = Arc::new(handler);
        for _ in 0..self.workers {
            spawn(worker::work(WorkerGuard::new(&shared), Arc::clone(&handler)));
        }
        spawn(monitor::watch(Arc::clone(&shared)));
        Pool { jobs: Jobs::new(Arc::clone(&shared.jobs)), results: Results::new(shared) }
    }
}
