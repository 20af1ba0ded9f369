//! Requeues or drops dead letters.
//!
//! The order makes a crash harmless: first the ledger decides (generation, attempts, partition
//! reopened), then the jobs are published and confirmed, then the letters leave the dead-letter queue. The
//! next requeue finds what was decided and not published.

use pagemill_core::PageJob;
use pagemill_queue::{Address, PageQueue};
use pagemill_store::{DeadFilter, Requeued, Store};
use serde::Serialize;

use crate::{partition::message, reconcile::reconcile_source};

/// The result of a requeue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RequeueResult {
    /// Ids of the dead letters whose pages are pulled again.
    pub requeued: Vec<i64>,
    /// The dead letters that stay as they are.
    pub refused: Vec<RefusedRequeue>,
}

/// A dead letter that cannot be requeued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedRequeue {
    /// The dead letter's id.
    pub id: i64,
    /// Why it cannot.
    pub reason: String,
}

/// Gives dead letters a fresh set of attempts, and publishes their jobs. `sources` are those whose
/// dead-letter queues are cleared of what was requeued.
///
/// # Errors
/// PostgreSQL or the queue being away, or another requeue or drop holding the lock.
pub async fn requeue<Q: PageQueue>(
    store: &Store,
    queue: &Q,
    sources: &[String],
    filter: &DeadFilter,
) -> anyhow::Result<RequeueResult> {
    let lock = store.dead_letters.lock().await?;
    let (jobs, result) = decide(store, filter).await?;
    fail::fail_point!("requeue-before-publish");
    for job in &jobs {
        let to = Address::Lane { source: job.slice.source.clone(), lane: job.lane };
        queue.publish(&to, [message(job)]).await?;
    }
    store.dead_letters.mark_requeued(&result.requeued).await?;
    reconcile(store, queue, sources).await?;
    drop(lock);
    Ok(result)
}

/// Gives dead letters a fresh set of attempts where the queue lives and dies with `pagemill run`: the next
/// run finds the reopened pages in the ledger.
///
/// # Errors
/// PostgreSQL being away.
pub async fn requeue_in_ledger(store: &Store, filter: &DeadFilter) -> anyhow::Result<RequeueResult> {
    let (_, result) = decide(store, filter).await?;
    store.dead_letters.mark_requeued(&result.requeued).await?;
    Ok(result)
}

/// Drops dead letters, and removes them from the dead-letter queues of `sources`. Returns how many; their
/// pages stay missing.
///
/// # Errors
/// PostgreSQL or the queue being away, or another requeue or drop holding the lock.
pub async fn drop_dead_letters<Q: PageQueue>(
    store: &Store,
    queue: &Q,
    sources: &[String],
    filter: &DeadFilter,
) -> anyhow::Result<u64> {
    let lock = store.dead_letters.lock().await?;
    let dropped = store.dead_letters.drop(filter).await?;
    reconcile(store, queue, sources).await?;
    drop(lock);
    Ok(dropped)
}

/// Drops dead letters where no queue outlives `pagemill run`. Returns how many.
///
/// # Errors
/// PostgreSQL being away.
pub async fn drop_in_ledger(store: &Store, filter: &DeadFilter) -> anyhow::Result<u64> {
    Ok(store.dead_letters.drop(filter).await?)
}

/// The jobs that the ledger lets be requeued, and the result to report.
async fn decide(store: &Store, filter: &DeadFilter) -> anyhow::Result<(Vec<PageJob>, RequeueResult)> {
    let (mut jobs, mut result) = (Vec::new(), RequeueResult::default());
    for Requeued { id, job } in store.dead_letters.requeue(filter).await? {
        match job {
            Ok(job) => {
                jobs.push(job);
                result.requeued.push(id);
            }
            Err(reason) => result.refused.push(RefusedRequeue { id, reason }),
        }
    }
    Ok((jobs, result))
}

/// One pass over each dead-letter queue: letters that no longer wait leave it, those that the broker put
/// there by itself are recorded.
async fn reconcile<Q: PageQueue>(store: &Store, queue: &Q, sources: &[String]) -> anyhow::Result<()> {
    for source in sources {
        reconcile_source(store, queue, source).await?;
    }
    Ok(())
}
