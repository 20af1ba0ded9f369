//! The consumer: for each source sessions that follow one another, beside heartbeats and rescues.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures_util::future;
use pagemill_queue::PageQueue;
use pagemill_store::ConsumerBeat;
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval},
};

use super::{
    sessions::{ReplicaCounts, serve},
    sizing::size,
};
use crate::{
    app::App,
    identity::identity,
    partition::{apply, rescue},
    pipeline::Pipeline,
    reconcile,
    stop::Stop,
};

const HEARTBEAT: Duration = Duration::from_secs(3);
const IDLE_CHECK: Duration = Duration::from_millis(500);
/// How often proved partitions are looked for that no worker has applied.
const SWEEP: Duration = Duration::from_secs(10);

/// Runs until stopped, or until no partition is open if `until_idle`. PostgreSQL or the broker may
/// come and go meanwhile: nothing is held, nothing is charged, and work goes on by itself.
///
/// # Errors
/// None while PostgreSQL or the broker is away: the consumer waits for them.
pub async fn consume<Q: PageQueue>(
    pipeline: &Arc<Pipeline<Q>>,
    app: &App,
    until_idle: bool,
    stop: &Stop,
) -> anyhow::Result<()> {
    let identity = identity();
    let (counts_sender, replica_counts) = watch::channel(ReplicaCounts::new());
    // Follows the process's stop, and is drained early when there is nothing left to do.
    let stop = stop.child();
    let serving = future::join_all(
        app.sources.iter().map(|source| serve(pipeline, app, source, replica_counts.clone(), &stop)),
    );
    tokio::pin!(serving);
    tokio::select! {
        _ = &mut serving => {}
        never = supervise(pipeline, app, &identity, until_idle, counts_sender, &stop) => match never {},
        never = sweep(pipeline, app) => match never {},
    }
    if let Err(error) = app.store.consumers.leave(&identity).await {
        tracing::debug!(%error, "this consumer's heartbeat stays until it runs out");
    }
    Ok(())
}

/// Applies what was proved by processes that died, or had to wait for others. Never returns.
async fn sweep<Q: PageQueue>(pipeline: &Pipeline<Q>, app: &App) -> Infallible {
    let mut sweeps = ticks(SWEEP);
    loop {
        sweeps.tick().await;
        if let Err(error) = apply::apply_proved(app, &pipeline.queue).await {
            tracing::warn!(%error, "the sweep of proved partitions failed");
        }
    }
}

/// Sends heartbeats, rescues stalled partitions, and drains when nothing is left to do. Never returns.
async fn supervise<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    app: &App,
    identity: &str,
    until_idle: bool,
    counts_sender: watch::Sender<ReplicaCounts>,
    stop: &Stop,
) -> Infallible {
    let stalled_after = app.settings.stalled_after.get();
    let (mut beats, mut idles) = (ticks(HEARTBEAT), ticks(IDLE_CHECK));
    let mut rescued_at = Instant::now();
    loop {
        tokio::select! {
            _ = beats.tick() => {
                let beat = beat(app, identity, &counts_sender.borrow());
                match app.store.consumers.beat(&beat).await {
                    Ok(replica_counts) => drop(counts_sender.send_replace(replica_counts)),
                    // The sessions begin when PostgreSQL is there, and find out by themselves when it is gone.
                    Err(error) => tracing::warn!(%error, "the heartbeat failed"),
                }
            }
            _ = idles.tick() => {
                if until_idle && matches!(app.store.partitions.any_open(&app.sources.names()).await, Ok(false)) {
                    stop.drain();
                }
                if rescued_at.elapsed() >= stalled_after / 2 {
                    rescued_at = Instant::now();
                    rescue_and_reconcile(pipeline, app, stalled_after).await;
                }
            }
        }
    }
}

/// Resumes stalled partitions, and reconciles the dead letters with the ledger. The next round repeats what failed.
async fn rescue_and_reconcile<Q: PageQueue>(pipeline: &Pipeline<Q>, app: &App, stalled_after: Duration) {
    let rescued = match rescue::rescue_stalled_partitions(app, &pipeline.queue, stalled_after).await {
        Ok(()) => reconcile::reconcile_sources(app, &pipeline.queue).await,
        failed => failed,
    };
    if let Err(error) = app.store.seals.clear_unneeded_staged().await {
        tracing::warn!(%error, "staged rows could not be deleted");
    }
    if let Err(error) = rescued {
        tracing::warn!(%error, "the rescue of stalled partitions failed");
    }
}

fn beat(app: &App, identity: &str, replica_counts: &ReplicaCounts) -> ConsumerBeat {
    let sizes = app.sources.iter().map(|s| size(app, s, replica_counts.get(s.name()).copied().unwrap_or(1)));
    let (workers, prefetch) =
        sizes.fold((0, 0), |(workers, prefetch), size| (workers + size.workers, prefetch + size.prefetch));
    ConsumerBeat { id: identity.to_owned(), sources: app.sources.names(), workers, prefetch }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
