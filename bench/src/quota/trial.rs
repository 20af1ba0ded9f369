//! What is measured of a quota, one function each.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::time::sleep;

use super::{Frozen, Hold, Idle, stand::Stand};
use crate::{args::Args, recovery::Recovery, servers::Servers, world::all_alive};

/// Replicas of the runs in which something happens.
const REPLICAS: u32 = 4;
const FROZEN: Duration = Duration::from_secs(10);
const AFTER: Duration = Duration::from_secs(5);

pub(super) async fn hold(args: &Args, servers: &Servers, rate: u32, replicas: u32) -> anyhow::Result<Hold> {
    let stand = Stand::warm(args, servers, rate, replicas, args.measure()).await?;
    let cpu = stand.cpu();
    let (begun, before) = stand.edge().await?;
    let reserved = stand.reserved().await?;
    sleep(args.measure()).await;
    let (ended, after) = stand.edge().await?;
    let reserved_after = stand.reserved().await?;
    let counts = after.since(before);
    all_alive(&stand.consumers)?;
    let hold = Hold {
        rate,
        replicas,
        seconds: (ended - begun).as_secs_f64(),
        admitted: counts.admitted,
        throttled: counts.throttled,
        reservations: reserved_after.0 - reserved.0,
        slots: reserved_after.1 - reserved.1,
        cpu: stand.cpu() - cpu,
        warnings: stand.warnings(),
    };
    stand.clear().await?;
    Ok(hold)
}

/// The API permits half, unannounced, and later all again.
pub(super) async fn recover(args: &Args, servers: &Servers, rate: u32) -> anyhow::Result<Recovery> {
    let lasts = args.measure() + args.recovery();
    let stand = Stand::warm(args, servers, rate, REPLICAS, lasts).await?;
    let mut recovery = Recovery::new(rate, REPLICAS, stand.api.counts().await?);
    recovery.watch(&stand.api, Duration::from_secs(3)).await?;
    stand.api.control(serde_json::json!({ "rate": rate / 2 })).await?;
    recovery.halved();
    recovery.watch(&stand.api, args.measure()).await?;
    stand.api.control(serde_json::json!({ "rate": rate })).await?;
    recovery.lifted();
    recovery.watch(&stand.api, args.recovery()).await?;
    all_alive(&stand.consumers)?;
    stand.warnings();
    stand.clear().await?;
    Ok(recovery)
}

pub(super) async fn freeze(args: &Args, servers: &Servers, rate: u32) -> anyhow::Result<Frozen> {
    let stand = Stand::warm(args, servers, rate, REPLICAS, FROZEN + AFTER).await?;
    let begun = stand.api.counts().await?;
    stand.consumers[0].signal(Signal::STOP)?;
    sleep(FROZEN).await;
    let woken = stand.api.counts().await?;
    stand.consumers[0].signal(Signal::CONT)?;
    sleep(AFTER).await;
    let after = stand.api.counts().await?;
    stand.clear().await?;
    Ok(Frozen {
        rate,
        replicas: REPLICAS,
        frozen_seconds: FROZEN.as_secs_f64(),
        during: woken.since(begun),
        after: after.since(woken),
        after_seconds: AFTER.as_secs_f64(),
    })
}

pub(super) async fn idle(args: &Args, servers: &Servers, rate: u32) -> anyhow::Result<Idle> {
    let mut stand = Stand::idle(args, servers, rate, 1, 1).await?;
    stand.consumers.push(stand.world.pagemill("pagemill-consumer", &[])?);
    // Started, and at rest.
    sleep(AFTER).await;
    let (begun, before) = (Instant::now(), stand.cpu());
    sleep(args.measure() / 2).await;
    all_alive(&stand.consumers)?;
    let idle = Idle { seconds: begun.elapsed().as_secs_f64(), cpu: stand.cpu() - before };
    stand.clear().await?;
    Ok(idle)
}
