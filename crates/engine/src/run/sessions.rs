//! Serves one source: sessions of the pipeline, fed by the source's two lanes. A session ends when PostgreSQL is
//! away, when the quota is used up for long, or when its size no longer fits the number of replicas or the time
//! that pages take.

use std::{collections::HashMap, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::future;
use pagemill_core::{Lane, Sizing};
use pagemill_queue::PageQueue;
use tokio::{sync::watch, time::Instant};

use super::sizing::{describe, fits, size, still_fits};
use crate::{
    app::App,
    error::ServiceError,
    pipeline::{Intake, Pipeline, SessionError},
    sources::Source,
    stop::Stop,
};

/// Interval of probes of PostgreSQL while PostgreSQL or the broker is away.
const PROBE: Duration = Duration::from_secs(1);
/// Interval of looks at a quota that is used up: an operator may have opened it.
const QUOTA_CHECK: Duration = Duration::from_secs(5);
/// After an error that is no outage, sessions begin again after growing pauses up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Live consumers of each source, as of the last heartbeat.
pub(super) type ReplicaCounts = HashMap<String, u32>;

/// Why a session was drained.
enum DrainReason {
    Stopped,
    Resized,
}

/// Runs sessions of a source, one after another, until the stop.
pub(super) async fn serve<Q: PageQueue>(
    pipeline: &Arc<Pipeline<Q>>,
    app: &App,
    source: &Source,
    mut replica_counts: watch::Receiver<ReplicaCounts>,
    stop: &Stop,
) {
    tokio::select! {
        () = stop.draining() => return,
        // The sender lives as long as the consumer.
        _ = replica_counts.wait_for(|replica_counts| !replica_counts.is_empty()) => {}
    }
    let name = source.name();
    let mut pauses = pauses();
    loop {
        let begun = Instant::now();
        let go_on = match session(pipeline, app, source, &mut replica_counts, stop).await {
            Ok(DrainReason::Stopped) => return,
            Ok(DrainReason::Resized) => continue,
            Err(SessionError::Failed(error)) => {
                tracing::warn!(source = name, %error, "stopped taking jobs: everything was returned to the queue");
                if begun.elapsed() > LONGEST_PAUSE {
                    pauses = self::pauses();
                }
                wait_until_available(app, &error, &mut pauses, stop).await
            }
            Err(SessionError::QuotaExhausted(wait)) => {
                tracing::warn!(
                    source = name,
                    ?wait,
                    "the quota is used up: everything was returned to the queue"
                );
                wait_for_quota(app, source, wait, stop).await
            }
        };
        if !go_on {
            return;
        }
        tracing::info!(source = name, "taking jobs again");
    }
}

async fn session<Q: PageQueue>(
    pipeline: &Arc<Pipeline<Q>>,
    app: &App,
    source: &Source,
    replica_counts: &mut watch::Receiver<ReplicaCounts>,
    stop: &Stop,
) -> Result<DrainReason, SessionError> {
    let name = source.name();
    let replicas = replicas(replica_counts, name);
    let size = size(app, source, replicas);
    source.quota.set_replicas(replicas);
    let (workers, prefetch) = (size.workers, size.prefetch);
    tracing::info!(source = name, workers, prefetch, "taking jobs: {}", describe(source, replicas));
    let mut lanes = Vec::new();
    for lane in Lane::ALL {
        match pipeline.queue.subscribe(name, lane, size.prefetch as u16).await {
            Ok(deliveries) => lanes.push(deliveries),
            Err(error) => return Err(SessionError::Failed(error.into())),
        }
    }
    // Follows the source's stop, and is drained early when the size changes.
    let session_stop = stop.child();
    let running = pipeline.run_session(Intake { lanes, limit: None }, size, &session_stop);
    tokio::pin!(running);
    let mut resized = false;
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = wait_for_resize(app, source, replica_counts, replicas, size) => {
            resized = true;
            session_stop.drain();
            running.await
        }
    };
    ended.map(|()| if resized && !stop.is_draining() { DrainReason::Resized } else { DrainReason::Stopped })
}

/// Returns once a size no longer fits the number of replicas, or the time that pages take.
async fn wait_for_resize(
    app: &App,
    source: &Source,
    replica_counts: &mut watch::Receiver<ReplicaCounts>,
    before: u32,
    size_before: Sizing,
) {
    while replica_counts.changed().await.is_ok() {
        let now = replicas(replica_counts, source.name());
        source.quota.set_replicas(now);
        let fits = if now == before { still_fits } else { fits };
        if !fits(size_before, size(app, source, now)) {
            return;
        }
    }
    future::pending().await
}

fn replicas(replica_counts: &mut watch::Receiver<ReplicaCounts>, source: &str) -> u32 {
    replica_counts.borrow_and_update().get(source).copied().unwrap_or(1).max(1)
}

/// Waits until PostgreSQL is back, or after any other error for a growing pause. False when the stop came first.
async fn wait_until_available(
    app: &App,
    error: &ServiceError,
    pauses: &mut ExponentialBackoff,
    stop: &Stop,
) -> bool {
    let transient = error.is_transient();
    loop {
        let pause = if transient { PROBE } else { pauses.next().unwrap_or(LONGEST_PAUSE) };
        tokio::select! {
            () = stop.draining() => return false,
            () = tokio::time::sleep(pause) => {}
        }
        if app.store.clock().await.is_ok() {
            return true;
        }
    }
}

fn pauses() -> ExponentialBackoff {
    let pauses = ExponentialBuilder::default().with_min_delay(PROBE).with_max_delay(LONGEST_PAUSE);
    pauses.without_max_times().build()
}

/// Waits until a source's quota opens, by the clock or by an operator's command. False when the stop came first.
async fn wait_for_quota(app: &App, source: &Source, wait: Duration, stop: &Stop) -> bool {
    let opens = Instant::now() + wait;
    loop {
        let next = opens.min(Instant::now() + QUOTA_CHECK);
        tokio::select! {
            () = stop.draining() => return false,
            () = tokio::time::sleep_until(next) => {}
        }
        let open = matches!(app.store.quotas.list(Some(source.name())).await, Ok(rows) if rows.iter().all(|q| q.opens_in <= 0.0));
        if open || Instant::now() >= opens {
            return true;
        }
    }
}
