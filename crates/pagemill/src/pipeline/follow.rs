//! What follows from a page being done: its partition is expanded, or sealed. Both idempotent, so
//! that whoever comes by may ensure them.

use pagemill_core::Verdict;
use pagemill_queue::{Address, PageQueue};
use pagemill_store::Progress;

use super::{Pipeline, Trouble, message};

/// After the first page its partition is expanded; after the last it is sealed.
pub(super) async fn up<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    progress: &Progress,
    has_first: bool,
) -> Result<(), Trouble> {
    if has_first && !progress.published && !progress.has_ended() {
        expand(pipeline, progress.partition).await?;
    }
    if progress.has_ended() {
        seal(pipeline, progress.partition).await?;
    }
    Ok(())
}

/// Publishes every page of a partition that is neither done nor dead. The total is in the ledger
/// since the first page's transaction.
async fn expand<Q: PageQueue>(pipeline: &Pipeline<Q>, id: i64) -> Result<(), Trouble> {
    fail::fail_point!("before-expansion");
    let partition = pipeline.store.partition(id).await?;
    let Some(planned) = partition.planned().filter(|_| !partition.progress.published) else {
        return Ok(());
    };
    let mut known = pipeline.store.known_pages(id).await?.into_iter().peekable();
    let jobs = (planned.first..=planned.last).filter_map(|page| {
        let (generation, finished) = known.next_if(|k| k.0 == page).map_or((0, false), |k| (k.1, k.2));
        (!finished).then(|| partition.job(page, generation))
    });
    let to = Address::Lane { source: partition.slice.source.clone(), lane: partition.lane };
    pipeline.queue.publish(&to, jobs.map(|job| message(&job))).await?;
    fail::fail_point!("after-expansion");
    pipeline.store.mark_published(id).await?;
    let total = partition.progress.total.unwrap_or(0);
    tracing::info!(partition = id, slice = %partition.slice, total, pages = planned.count(), "expanded");
    Ok(())
}

/// Closes a partition that has ended.
pub(crate) async fn seal<Q: PageQueue>(pipeline: &Pipeline<Q>, id: i64) -> Result<(), Trouble> {
    let Some(report) = pipeline.store.seal(id).await? else { return Ok(()) };
    let slice = &report.partition.slice;
    match report.verdict {
        Verdict::Sealed => tracing::info!(partition = id, %slice, rows = report.facts.total, "sealed"),
        Verdict::Incomplete(reason) => tracing::warn!(partition = id, %slice, %reason, "incomplete"),
    }
    Ok(())
}
