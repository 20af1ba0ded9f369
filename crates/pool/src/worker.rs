//! One worker: takes a job, lends it to the handler, hands over how it ended, takes the next.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::job_outcome::JobOutcome;
use crate::panic::{Panic, contain};
use crate::shared::WorkerGuard;

/// What a handler returns: a boxed future that may borrow from its job.
pub type BoxFuture<'a, R> = Pin<Box<dyn Future<Output = R> + Send + 'a>>;

pub(crate) async fn work<J, R, F>(guard: WorkerGuard<J, R>, handler: Arc<F>)
where
    F: for<'a> Fn(&'a J) -> BoxFuture<'a, R>,
{
    let shared = guard.shared();
    // One future for all jobs: it takes its place among those that wait for the token only once.
    let mut cancelled = pin!(shared.cancellation.cancelled());
    while let Some(job) = shared.jobs.take().await {
        let outcome = attempt(&*handler, job, cancelled.as_mut()).await;
        shared.outcomes.push(outcome).await;
    }
}

/// Runs one job. The job stays here, outside of all that may panic or be dropped, and so is there afterwards.
async fn attempt<J, R, F>(handler: &F, job: J, cancelled: impl Future<Output = ()>) -> JobOutcome<J, R>
where
    F: for<'a> Fn(&'a J) -> BoxFuture<'a, R>,
{
    let end = tokio::select! {
        biased;
        () = cancelled => None,
        end = run(handler, &job) => Some(end),
    };
    match end {
        Some(Ok(result)) => JobOutcome::Done { job, result },
        Some(Err(panic)) => JobOutcome::Failed { job, panic },
        None => JobOutcome::Returned { job },
    }
}

async fn run<J, R, F>(handler: &F, job: &J) -> Result<R, Panic>
where
    F: for<'a> Fn(&'a J) -> BoxFuture<'a, R>,
{
    let future = contain(|| handler(job))?;
    Contained { future: Some(future) }.await
}

/// A future whose polls and whose drop may panic without harm to the worker.
struct Contained<'a, R> {
    future: Option<BoxFuture<'a, R>>,
}

impl<R> Future for Contained<'_, R> {
    type Output = Result<R, Panic>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.future.as_mut().expect("only the drop takes the future");
        match contain(|| future.as_mut().poll(context)) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

impl<R> Drop for Contained<'_, R> {
    fn drop(&mut self) {
        let future = self.future.take();
        // Logged where it was caught; the job's outcome is known by now.
        let _ = contain(|| drop(future));
    }
}
