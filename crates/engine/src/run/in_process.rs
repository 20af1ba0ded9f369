//! A run in one process: its queue is in memory, its workers are here. What the ledger lacks is published
//! at the start, so a run that was killed is continued by the next.

use std::time::{Duration, Instant};

use pagemill_core::Slice;
use pagemill_queue::{Address, InProcess, PageQueue};
use pagemill_store::{PartitionRow, Planned, RunStatus};

use crate::{
    app::App,
    error::UnavailableError,
    identity::identity,
    partition::{message, rescue},
    pipeline::{Counts, Pipeline},
    run::{
        consume::consume,
        follow::{FollowEvent, follow},
        plan::plan,
        produce::RunLease,
        request::RunRequest,
    },
    stop::Stop,
};

/// How long other consumers are waited for: longer than the heartbeat of a dead one lasts.
const OTHERS: Duration = Duration::from_secs(18);

/// Other processes that may work on the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenancy {
    /// Nobody: whatever is open in it is this process's work.
    Exclusive,
    /// Producers and consumers too: only this run's own partitions are this process's work.
    Shared,
}

/// The result of a run in one process.
#[derive(Debug)]
pub enum InProcessRun {
    /// Nothing was due: earlier runs sealed everything. The newest of those runs, if there is one.
    NothingDue(Option<RunStatus>),
    /// The run's last partition is closed.
    Ended(RunStatus),
}

/// An event of a run in one process, for its observer.
#[derive(Debug)]
pub enum InProcessEvent<'a> {
    /// The run is planned.
    Planned(&'a Planned),
    /// An unfinished partition is continued.
    Continued {
        /// The partition's slice.
        slice: &'a Slice,
        /// Pages published because the ledger lacks them.
        missing: u64,
    },
    /// The workers begin.
    Started,
    /// The run is being followed.
    Followed {
        /// The event.
        event: FollowEvent<'a>,
        /// Counts of this process so far.
        counts: Counts,
    },
}

/// Receives the events of a run in one process.
pub type InProcessObserver<'a> = &'a mut (dyn FnMut(InProcessEvent<'_>) + Send);

/// Plans a request, publishes it to a queue in memory, works on it, and follows it to its end.
///
/// # Errors
/// [`UnavailableError`] while consumers or a producer work on the same; a stop; whatever planning, publishing
/// and working fail with.
pub async fn run_in_process(
    app: &App,
    request: &RunRequest,
    tenancy: Tenancy,
    observe: InProcessObserver<'_>,
    stop: &Stop,
) -> anyhow::Result<InProcessRun> {
    let owner = identity();
    if tenancy == Tenancy::Shared {
        wait_until_alone(app, stop).await?;
    }
    let planned = plan(&app.store, &app.sources, request, &owner).await?;
    observe(InProcessEvent::Planned(&planned));
    let Some(run) = planned.run else {
        let newest = match planned.newest_sealed() {
            Some(sealed) => Some(app.store.runs.status(sealed.run).await?),
            None => None,
        };
        return Ok(InProcessRun::NothingDue(newest));
    };
    // In a database of our own the holder of the lease is a run that was killed.
    if let (Tenancy::Shared, Some(owner)) = (tenancy, &planned.lease_holder) {
        return Err(UnavailableError(format!("run {run} is being planned by {owner}: wait for it")).into());
    }
    let lease = RunLease::keep(app.store.clone(), run, owner);
    let queue = InProcess::new(app.settings.retry.clone());
    publish(app, &queue, run, &planned, tenancy, observe).await?;
    observe(InProcessEvent::Started);
    let status = work(app, queue, run, tenancy, observe, stop).await?;
    lease.release().await?;
    Ok(InProcessRun::Ended(status))
}

/// Waits until no consumer works on the same sources: its queue is another, and both would pull the
/// same pages. A run that was killed a moment ago counts until its heartbeat runs out.
async fn wait_until_alone(app: &App, stop: &Stop) -> anyhow::Result<()> {
    let names = app.sources.names();
    let begun = Instant::now();
    while app.store.consumers.count_alive(&names).await? > 0 {
        if begun.elapsed() > OTHERS || stop.is_draining() {
            let what =
                format!("consumers are at work on {}: stop them, or use pagemill-producer", names.join(", "));
            return Err(UnavailableError(what).into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Fills the queue, which begins empty, with what the ledger lacks.
async fn publish(
    app: &App,
    queue: &InProcess,
    run: i64,
    planned: &Planned,
    tenancy: Tenancy,
    observe: InProcessObserver<'_>,
) -> anyhow::Result<()> {
    for partition in own_partitions(app, planned, tenancy).await? {
        if !planned.continued && partition.run == run {
            let to = Address::Lane { source: partition.slice.source.clone(), lane: partition.lane };
            queue.publish(&to, [message(&partition.job(partition.progress.first_page, 0))]).await?;
        } else {
            let missing = rescue::rescue_partition(app, queue, partition.id).await?;
            observe(InProcessEvent::Continued { slice: &partition.slice, missing });
        }
    }
    Ok(())
}

/// The open partitions that are this process's work.
async fn own_partitions(app: &App, planned: &Planned, tenancy: Tenancy) -> anyhow::Result<Vec<PartitionRow>> {
    Ok(match tenancy {
        Tenancy::Exclusive => app.store.partitions.open(&app.sources.names()).await?,
        Tenancy::Shared => planned.open.iter().filter(|o| !o.adopted).map(|o| o.partition.clone()).collect(),
    })
}

/// Works on what was published until the run has ended, and with a database of our own until nothing is
/// open.
async fn work(
    app: &App,
    queue: InProcess,
    run: i64,
    tenancy: Tenancy,
    observe: InProcessObserver<'_>,
    stop: &Stop,
) -> anyhow::Result<RunStatus> {
    let pipeline = Pipeline::consumer(app, queue);
    let working_stop = stop.child();
    let working = {
        let (pipeline, app, working_stop) = (pipeline.clone(), app.clone(), working_stop.clone());
        tokio::spawn(async move { consume(&pipeline, &app, true, &working_stop).await })
    };
    let counters = pipeline.counters.clone();
    let mut on_follow =
        |event: FollowEvent<'_>| observe(InProcessEvent::Followed { event, counts: counters.read() });
    let followed = follow(&app.store, run, None, None, &mut on_follow, stop).await;
    // On a server other runs' pages are others' work; in a database of our own they are ours.
    if tenancy == Tenancy::Shared || followed.is_err() {
        working_stop.drain();
    }
    working.await??;
    followed
}
