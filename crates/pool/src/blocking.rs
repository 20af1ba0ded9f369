//! Work that blocks its thread.

use tokio::task::{JoinHandle, spawn_blocking};

use crate::panic::contain;

/// Runs `work` on a thread of tokio's blocking pool: the way for a job that computes for long, or calls
/// an interface that blocks.
///
/// - A panic in `work` goes on in whoever awaits this future, with its message and place, and so
///   becomes [`Outcome::Failed`](crate::Outcome::Failed) like any other.
/// - It can be cancelled at its await: the job comes back as
///   [`Outcome::Returned`](crate::Outcome::Returned) at once. If `work` has not begun, it never begins;
///   if it has, **its thread runs on until `work` returns by itself**, and what it returns is dropped.
///   So the same job, queued again, may run beside its first attempt, and dropping the runtime
///   waits for the thread (see `Runtime::shutdown_timeout`).
/// - `work` is `'static`: clone out of the job what it needs.
/// - It starts at the first poll, not before.
///
/// # Panics
///
/// If `work` does, or if the runtime shuts down before `work` began. Outside a tokio runtime.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use pagemill_pool::{Outcome, Pool, blocking};
///
/// let Pool { jobs, mut results, .. } = Pool::builder().start(|limit: &u64| {
///     let limit = *limit;
///     Box::pin(blocking(move || (1..=limit).sum::<u64>()))
/// });
/// jobs.submit(1000).await.unwrap();
/// assert_eq!(results.next().await, Some(Outcome::Done { job: 1000, result: 500_500 }));
/// # }
/// ```
pub async fn blocking<T, F>(work: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let mut thread = Unbegun(spawn_blocking(move || contain(work)));
    match (&mut thread.0).await {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => panic.raise(),
        Err(_) => panic!("the runtime shut down before the blocking work began"),
    }
}

/// Takes work that has not begun off tokio's queue; no thread is interrupted by it.
struct Unbegun<T>(JoinHandle<T>);

impl<T> Drop for Unbegun<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
