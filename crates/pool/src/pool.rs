//! The pool and its settings.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::exchange::{Exchange, OnDuty};
use crate::{Jobs, Results, Stopper, monitor, worker};

const WORKERS: usize = 4;
const JOBS: usize = 100;
const RESULTS: usize = 100;

/// What a handler returns: a boxed future that may borrow from its job.
pub type BoxFuture<'a, R> = Pin<Box<dyn Future<Output = R> + Send + 'a>>;

/// A running pool, in three parts that usually go to three places.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use pagemill_pool::{Outcome, Pool};
///
/// let Pool { jobs, mut results, stopper } =
///     Pool::builder().workers(2).start(|word: &String| Box::pin(async move { word.len() }));
///
/// jobs.submit("page".to_owned()).await.unwrap();
/// drop(jobs);
/// assert_eq!(results.next().await, Some(Outcome::Done { job: "page".to_owned(), result: 4 }));
/// assert_eq!(results.next().await, None);
/// assert_eq!(stopper.stopped().await.stuck, 0);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a pool without a reader of its results is cancelled"]
pub struct Pool<J: Send, R: Send> {
    /// The way in, to be cloned for as many submitters as there are.
    pub jobs: Jobs<J>,
    /// The way out, for one reader.
    pub results: Results<J, R>,
    /// Ends it early, from anywhere.
    pub stopper: Stopper,
}

impl Pool<(), ()> {
    /// The settings of a pool to start: 4 workers, 100 buffered jobs and 100 buffered outcomes unless
    /// said otherwise.
    pub fn builder() -> Builder {
        Builder { workers: WORKERS, jobs: JOBS, results: RESULTS }
    }
}

/// The settings of a pool.
#[derive(Clone, Debug)]
#[must_use = "nothing runs before `start`"]
pub struct Builder {
    workers: usize,
    jobs: usize,
    results: usize,
}

impl Builder {
    /// How many workers there are: at most so many jobs run at once.
    ///
    /// # Panics
    ///
    /// If `workers` is 0.
    pub fn workers(mut self, workers: usize) -> Self {
        assert!(workers > 0, "a pool needs a worker");
        self.workers = workers;
        self
    }

    /// How many jobs wait at most, beside those that run; then [`Jobs::submit`] waits.
    ///
    /// # Panics
    ///
    /// If `jobs` is 0.
    pub fn jobs(mut self, jobs: usize) -> Self {
        assert!(jobs > 0, "a pool needs room for a job");
        self.jobs = jobs.min(Semaphore::MAX_PERMITS);
        self
    }

    /// How many outcomes wait at most for the reader; then the workers wait with theirs.
    ///
    /// # Panics
    ///
    /// If `results` is 0.
    pub fn results(mut self, results: usize) -> Self {
        assert!(results > 0, "a pool needs room for an outcome");
        self.results = results.min(Semaphore::MAX_PERMITS);
        self
    }

    /// Starts the workers on the current tokio runtime, of either flavour.
    ///
    /// The worker owns each job and lends it to the future that `handler` makes of it, so the job is
    /// still there after a panic or a cancel. `handler` runs on the worker, so it too must not block.
    ///
    /// The first pool of a program puts a panic hook before the one it finds. The hook speaks only for
    /// threads inside a handler: it notes the place of the panic, which is then logged once, by
    /// `tracing::error!`, with a backtrace where `RUST_BACKTRACE` asks for one. All other panics go to
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
        let exchange = Arc::new(Exchange::new(self.jobs, self.results));
        let handler = Arc::new(handler);
        for _ in 0..self.workers {
            tokio::spawn(worker::work(OnDuty::new(&exchange), Arc::clone(&handler)));
        }
        tokio::spawn(monitor::watch(Arc::clone(&exchange)));
        Pool {
            jobs: Jobs::new(Arc::clone(&exchange.queue)),
            stopper: Stopper::new(Arc::clone(&exchange) as _),
            results: Results::new(exchange),
        }
    }
}
