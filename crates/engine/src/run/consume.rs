//! The consumer: for each source a pipeline fed by its two lanes, for as long as it is wanted. Sessions
//! of a source follow one another: one ends when PostgreSQL is away, when the source permits nothing for
//! long, or when its size no longer fits the number of replicas or the time that pages take.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future;
use pagemill_core::{Lane, PageTimes, Sizing, lease, sizing};
use pagemill_queue::PageQueue;
use pagemill_store::ConsumerBeat;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    app::App,
    identity::identity,
    partition::rescue,
    pipeline::{Ended, Intake, Pipeline},
    sources::Source,
    stop::{Stage, Stop, Stopper},
};

const HEARTBEAT: Duration = Duration::from_secs(3);
const IDLE_CHECK: Duration = Duration::from_millis(500);
const RETRY_CONNECT: Duration = Duration::from_secs(1);
/// While a source permits nothing, it is asked so often whether an operator has opened it.
const SHUT_CHECK: Duration = Duration::from_secs(5);

/// How many consumers of each source are alive, as of the last heartbeat.
type Fleet = HashMap<String, u32>;

/// Why a session ended.
enum SessionEnd {
    Stopped,
    Resized,
    Unavailable(String),
    Shut(Duration),
}

/// Runs until stopped, or until no partition is open if `until_idle`. PostgreSQL or the broker may
/// come and go meanwhile: nothing is held, nothing is charged, and work goes on by itself.
///
/// # Errors
/// Only what no waiting can mend.
pub async fn consume<Q: PageQueue>(
    pipeline: &Arc<Pipeline<Q>>,
    app: &App,
    until_idle: bool,
    stop: &Stop,
) -> anyhow::Result<()> {
    let identity = identity();
    let (heard, fleet) = watch::channel(Fleet::new());
    // It follows the process's stop, and comes early when there is nothing left to do.
    let (stopper, own_stop) = stop.child();
    let sessions = app.sources.iter().map(|source| serve(pipeline, app, source, fleet.clone(), &own_stop));
    let serving = future::join_all(sessions);
    tokio::pin!(serving);
    tokio::select! {
        _ = &mut serving => {}
        never = keep_watch(pipeline, app, &identity, until_idle, heard, &stopper) => match never {},
    }
    if let Err(error) = app.store.leave(&identity).await {
        tracing::debug!(%error, "this consumer's heartbeat stays until it runs out");
    }
    Ok(())
}

/// One session of a source after another.
async fn serve<Q: PageQueue>(
    pipeline: &Arc<Pipeline<Q>>,
    app: &App,
    source: &Source,
    mut fleet: watch::Receiver<Fleet>,
    stop: &Stop,
) {
    tokio::select! {
        () = stop.reached(Stage::Draining) => return,
        // The sender lives as long as the consumer.
        _ = fleet.wait_for(|fleet| !fleet.is_empty()) => {}
    }
    loop {
        match session(pipeline, app, source, &mut fleet, stop).await {
            SessionEnd::Stopped => return,
            SessionEnd::Resized => {}
            SessionEnd::Unavailable(why) => {
                tracing::warn!(source = source.name(), %why, "stopped taking jobs: everything was given back");
                if !available(app, stop).await {
                    return;
                }
                tracing::info!(source = source.name(), "taking jobs again");
            }
            SessionEnd::Shut(wait) => {
                let name = source.name();
                tracing::warn!(source = name, ?wait, "the quota is used up: everything was given back");
                if !opened(app, source, wait, stop).await {
                    return;
                }
                tracing::info!(source = name, "taking jobs again");
            }
        }
    }
}

async fn session<Q: PageQueue>(
    pipeline: &Arc<Pipeline<Q>>,
    app: &App,
    source: &Source,
    fleet: &mut watch::Receiver<Fleet>,
    stop: &Stop,
) -> SessionEnd {
    let name = source.name();
    let replicas = alive(fleet, name);
    let size = size(app, source, replicas);
    source.quota.shared_by(replicas);
    tracing::info!(
        source = name,
        workers = size.workers,
        prefetch = size.prefetch,
        "taking jobs: {}",
        reckoning(source, replicas)
    );
    let mut lanes = Vec::new();
    for lane in Lane::ALL {
        match pipeline.queue.subscribe(name, lane, size.prefetch as u16).await {
            Ok(deliveries) => lanes.push(deliveries),
            Err(error) => return SessionEnd::Unavailable(error.to_string()),
        }
    }
    // The session's own stop: it follows the source's, and comes early when the session is over.
    let (stopper, session_stop) = stop.child();
    let mut resized = false;
    let watching = async {
        while fleet.changed().await.is_ok() {
            let now = alive(fleet, name);
            source.quota.shared_by(now);
            let fits = if now == replicas { still_fits } else { fits };
            if !fits(size, self::size(app, source, now)) {
                return;
            }
        }
        future::pending().await
    };
    let running = pipeline.run(Intake { lanes, most: None }, size, &session_stop);
    tokio::pin!(running);
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = watching => {
            resized = true;
            stopper.go(Stage::Draining);
            running.await
        }
    };
    match ended {
        Ended::Drained if resized && !stop.is(Stage::Draining) => SessionEnd::Resized,
        Ended::Drained => SessionEnd::Stopped,
        Ended::Unavailable(why) => SessionEnd::Unavailable(why),
        Ended::Shut(wait) => SessionEnd::Shut(wait),
    }
}

/// Heartbeats, rescues, and a look whether there is anything left to do. Never ends by itself.
async fn keep_watch<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    app: &App,
    identity: &str,
    until_idle: bool,
    heard: watch::Sender<Fleet>,
    stopper: &Stopper,
) -> std::convert::Infallible {
    let rescue_after = app.settings.stalled_after.get();
    let ticking = |period| {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let (mut beats, mut idles) = (ticking(HEARTBEAT), ticking(IDLE_CHECK));
    let mut rescued = Instant::now();
    loop {
        tokio::select! {
            _ = beats.tick() => {
                let beat = beat(app, identity, &heard.borrow());
                match app.store.beat(&beat).await {
                    Ok(fleet) => drop(heard.send_replace(fleet)),
                    // The sessions begin when PostgreSQL is there, and find out by themselves when it is gone.
                    Err(error) => tracing::warn!(%error, "no heartbeat"),
                }
            }
            _ = idles.tick() => {
                if until_idle && matches!(app.store.has_open_partitions(&app.sources.names()).await, Ok(false)) {
                    stopper.go(Stage::Draining);
                }
                if rescued.elapsed() >= rescue_after / 2 {
                    rescued = Instant::now();
                    let mended = match rescue::rescue_idle(app, &pipeline.queue, rescue_after).await {
                        Ok(()) => rescue::reconcile_all(app, &pipeline.queue).await,
                        failed => failed,
                    };
                    if let Err(error) = mended {
                        tracing::warn!(%error, "no rescue");
                    }
                }
            }
        }
    }
}

fn beat(app: &App, identity: &str, fleet: &Fleet) -> ConsumerBeat {
    let sizes = app.sources.iter().map(|s| size(app, s, fleet.get(s.name()).copied().unwrap_or(1)));
    let (workers, prefetch) =
        sizes.fold((0, 0), |(workers, prefetch), size| (workers + size.workers, prefetch + size.prefetch));
    ConsumerBeat { id: identity.to_owned(), sources: app.sources.names(), workers, prefetch }
}

fn alive(fleet: &mut watch::Receiver<Fleet>, source: &str) -> u32 {
    fleet.borrow_and_update().get(source).copied().unwrap_or(1).max(1)
}

/// Waits until PostgreSQL answers again; false when the stop came first.
async fn available(app: &App, stop: &Stop) -> bool {
    loop {
        tokio::select! {
            () = stop.reached(Stage::Draining) => return false,
            () = tokio::time::sleep(RETRY_CONNECT) => {}
        }
        if app.store.clock().await.is_ok() {
            return true;
        }
    }
}

/// Waits until a source's quota opens, by the clock or by an operator's word; false when the stop came
/// first.
async fn opened(app: &App, source: &Source, wait: Duration, stop: &Stop) -> bool {
    let opens = Instant::now() + wait;
    loop {
        let next = opens.min(Instant::now() + SHUT_CHECK);
        tokio::select! {
            () = stop.reached(Stage::Draining) => return false,
            () = tokio::time::sleep_until(next) => {}
        }
        let open = matches!(app.store.quotas(Some(source.name())).await, Ok(rows) if rows.iter().all(|q| q.opens_in <= 0.0));
        if open || Instant::now() >= opens {
            return true;
        }
    }
}

/// Workers and prefetch of one of `replicas` consumers of a source.
fn size(app: &App, source: &Source, replicas: u32) -> Sizing {
    let settings = &app.settings;
    let size =
        sizing(share(source, replicas), source.times.p95(), settings.workers.count(), settings.batch_pages);
    Sizing { prefetch: settings.prefetch.count().unwrap_or(size.prefetch), ..size }
}

fn share(source: &Source, replicas: u32) -> Option<f64> {
    source.quota.per_second().map(|rate| rate / f64::from(replicas.max(1)))
}

/// Little's law in words.
fn reckoning(source: &Source, replicas: u32) -> String {
    let Some(share) = share(source, replicas) else { return "no rate limit".to_owned() };
    let PageTimes { fetch, page } = source.times.p95();
    format!(
        "share {share:.2}/s of {replicas} consumers; out {share:.2}/s × {:.3} s (p95 of a fetch), ready for slots {}; \
         prefetch {share:.2}/s × ({:.3} s (p95 to the ack) + 1 s)",
        fetch.as_secs_f64(),
        lease(share),
        page.as_secs_f64(),
    )
}

/// Whether a size still does for other replicas.
fn fits(now: Sizing, wanted: Sizing) -> bool {
    let near = |now: u32, wanted: u32| f64::from(now.abs_diff(wanted)) <= 0.2 * f64::from(now.max(1));
    near(now.workers, wanted.workers) && near(now.prefetch, wanted.prefetch)
}

/// The same where only the times of pages have changed: they vary, and a new session takes a moment.
fn still_fits(now: Sizing, wanted: Sizing) -> bool {
    let near = |now: u32, wanted: u32| f64::from(wanted) <= 1.2 * f64::from(now) && 3 * wanted >= now;
    near(now.workers, wanted.workers) && near(now.prefetch, wanted.prefetch)
}
