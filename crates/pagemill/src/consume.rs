//! The consumer: a pipeline fed by the queue, for as long as it is wanted. Sessions follow one
//! another: a session ends when PostgreSQL is away or when the number of replicas has changed.

use std::{sync::Arc, time::Duration};

use pagemill_core::{Lane, Sizing, sizing};
use pagemill_queue::PageQueue;
use pagemill_store::ConsumerBeat;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    app::App,
    pipeline::{Ended, Intake, Pipeline},
    rescue,
    stop::{Stage, Stop},
};

const HEARTBEAT: Duration = Duration::from_secs(3);
const IDLE_CHECK: Duration = Duration::from_millis(500);
/// Time of a fetch, and of a page from delivery to ack, until they are measured: what `auto` sizes
/// by. Generous: a worker too many waits for its slot, one too few wastes quota.
const FETCH: Duration = Duration::from_millis(400);
const PAGE: Duration = Duration::from_millis(600);
const RETRY_CONNECT: Duration = Duration::from_secs(1);

/// A session ends by itself when its sizing is off by more than this.
const RESIZE: f64 = 0.2;

/// `host:pid:random`, telling this process from all others.
pub fn identity() -> String {
    use std::hash::{BuildHasher, RandomState};
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "host".into());
    format!("{}:{}:{:08x}", host.trim(), std::process::id(), RandomState::new().hash_one(0) as u32)
}

/// Why a session ended.
enum SessionEnd {
    Stopped,
    Idle,
    Resized(u32),
    Unavailable(String),
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
    let mut replicas = 1;
    loop {
        let size = size(app, replicas);
        let beat = ConsumerBeat {
            id: identity.clone(),
            sources: app.sources.names(),
            workers: size.workers,
            prefetch: size.prefetch,
        };
        match session(pipeline, app, &beat, size, until_idle, stop).await {
            SessionEnd::Stopped | SessionEnd::Idle => break,
            SessionEnd::Resized(alive) => replicas = alive,
            SessionEnd::Unavailable(why) => {
                tracing::warn!(%why, "stopped taking jobs: everything was given back");
                if !available(app, stop).await {
                    break;
                }
                tracing::info!("taking jobs again");
            }
        }
    }
    if let Err(error) = app.store.leave(&identity).await {
        tracing::debug!(%error, "this consumer's heartbeat stays until it runs out");
    }
    Ok(())
}

async fn session<Q: PageQueue>(
    pipeline: &Arc<Pipeline<Q>>,
    app: &App,
    beat: &ConsumerBeat,
    size: Sizing,
    until_idle: bool,
    stop: &Stop,
) -> SessionEnd {
    let replicas = match app.store.beat(beat).await {
        Ok(alive) => alive,
        Err(error) => return SessionEnd::Unavailable(error.to_string()),
    };
    if differs(size, self::size(app, replicas)) {
        return SessionEnd::Resized(replicas);
    }
    tracing::info!(workers = size.workers, prefetch = size.prefetch, replicas, "taking jobs");
    let mut intakes = Vec::new();
    for source in app.sources.iter() {
        for lane in Lane::ALL {
            match pipeline.queue.subscribe(source.name(), lane, size.prefetch as u16).await {
                Ok(deliveries) => intakes.push(Intake { deliveries, most: None }),
                Err(error) => return SessionEnd::Unavailable(error.to_string()),
            }
        }
    }
    // The session's own stop: it follows the process's, and comes early when the session is over.
    let (stopper, session_stop) = stop.child();
    let watching = async {
        let end = watch(pipeline, app, beat, size, until_idle).await;
        stopper.go(Stage::Draining);
        end
    };
    let running = pipeline.run(intakes, size, &session_stop);
    tokio::pin!(running);
    let end = tokio::select! {
        ended = &mut running => match ended {
            Ended::Drained => SessionEnd::Stopped,
            Ended::Unavailable(why) => SessionEnd::Unavailable(why),
        },
        end = watching => match running.await {
            Ended::Drained if stop.is(Stage::Draining) => SessionEnd::Stopped,
            Ended::Drained => end,
            Ended::Unavailable(why) => SessionEnd::Unavailable(why),
        },
    };
    end
}

/// Heartbeats, rescues, and looks whether the session is over.
async fn watch<Q: PageQueue>(
    pipeline: &Pipeline<Q>,
    app: &App,
    beat: &ConsumerBeat,
    size: Sizing,
    until_idle: bool,
) -> SessionEnd {
    let rescue_after = app.settings.rescue.get();
    let ticking = |period| {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let (mut beats, mut idles) = (ticking(HEARTBEAT), ticking(IDLE_CHECK));
    let mut rescued = Instant::now();
    loop {
        tokio::select! {
            _ = beats.tick() => match app.store.beat(beat).await {
                Ok(alive) if differs(size, self::size(app, alive)) => return SessionEnd::Resized(alive),
                Ok(_) => {}
                // The pipeline finds out by itself, if it has work to do.
                Err(error) => tracing::warn!(%error, "no heartbeat"),
            },
            _ = idles.tick() => {
                if until_idle && matches!(app.store.has_open_partitions(&app.sources.names()).await, Ok(false)) {
                    return SessionEnd::Idle;
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

/// Workers and prefetch of one of `replicas` consumers.
fn size(app: &App, replicas: u32) -> Sizing {
    let settings = &app.settings;
    // A process serves all its sources by one pool: their rates add up, and one without a limit
    // makes the whole unlimited.
    let rates: Option<f64> = app.sources.iter().map(|s| s.quota.per_second()).sum();
    let share = rates.map(|rate| rate / f64::from(replicas.max(1)));
    let size = sizing(share, FETCH, PAGE, settings.workers.count(), settings.batch_pages);
    Sizing { prefetch: settings.prefetch.count().unwrap_or(size.prefetch), ..size }
}

fn differs(a: Sizing, b: Sizing) -> bool {
    let off = |a: u32, b: u32| f64::from(a.abs_diff(b)) > RESIZE * f64::from(a.max(1));
    off(a.workers, b.workers) || off(a.prefetch, b.prefetch)
}
