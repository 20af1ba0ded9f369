//! Points 4 and 5: how much of a quota consumers use, by their number, and how much they overstep it.

use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::{
    api::{Api, Counts},
    args::Args,
    machine::Machine,
    process::Program,
    recovery::Recovery,
    servers::Servers,
    world::{Settings, World, all_alive, log_in},
};

/// Replicas of the runs in which something happens.
const REPLICAS: u32 = 4;
const FROZEN: Duration = Duration::from_secs(10);
const AFTER: Duration = Duration::from_secs(5);
/// Pages beyond what is needed: starting up takes its time too.
const SPARE: Duration = Duration::from_secs(20);
/// More replicas than this have one writer each, or their connections are too many.
const CROWD: u32 = 16;

/// All that `quota` measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Quota {
    pub(crate) machine: Machine,
    pub(crate) warmup_seconds: f64,
    pub(crate) measured_seconds: f64,
    pub(crate) page_size: u32,
    pub(crate) latency: String,
    pub(crate) holds: Vec<Hold>,
    pub(crate) recovery: Option<Recovery>,
    pub(crate) frozen: Option<Frozen>,
    pub(crate) idle: Option<Idle>,
    /// What did not come to figures, and why.
    pub(crate) failed: Vec<(String, String)>,
}

/// So many replicas at a steady rate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hold {
    pub(crate) rate: u32,
    pub(crate) replicas: u32,
    /// From the first request counted to the last.
    pub(crate) seconds: f64,
    pub(crate) admitted: u64,
    pub(crate) throttled: u64,
    /// Reservations in PostgreSQL meanwhile, and the slots that they got.
    pub(crate) reservations: i64,
    pub(crate) slots: i64,
    /// CPU seconds of all consumers.
    pub(crate) cpu: f64,
    /// Lines that the consumers logged, warnings and errors, from their start.
    #[serde(default)]
    pub(crate) warnings: usize,
}

/// One of several replicas stopped (SIGSTOP) and woken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Frozen {
    pub(crate) rate: u32,
    pub(crate) replicas: u32,
    pub(crate) frozen_seconds: f64,
    /// While it was frozen.
    pub(crate) during: Counts,
    /// In the seconds after it woke.
    pub(crate) after: Counts,
    pub(crate) after_seconds: f64,
}

/// A consumer with nothing to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
}

impl Hold {
    /// Share of the rate that was used.
    pub(crate) fn used(&self) -> f64 {
        self.admitted as f64 / (f64::from(self.rate) * self.seconds)
    }

    /// Share of the requests that were throttled.
    pub(crate) fn throttled(&self) -> f64 {
        self.throttled as f64 / (self.admitted + self.throttled).max(1) as f64
    }

    /// Reservations for 1,000 requests.
    pub(crate) fn round_trips(&self) -> f64 {
        self.reservations as f64 * 1e3 / self.admitted as f64
    }

    /// Share of the slots that no request was sent in.
    pub(crate) fn void(&self) -> f64 {
        1.0 - (self.admitted + self.throttled) as f64 / self.slots as f64
    }
}

/// Measures everything. What fails is said, and does not end the rest.
pub(crate) async fn run(args: &Args, servers: &Servers) -> anyhow::Result<Quota> {
    let mut quota = Quota {
        machine: Machine::read(servers, vec![]).await?,
        warmup_seconds: args.warmup().as_secs_f64(),
        measured_seconds: args.measure().as_secs_f64(),
        page_size: args.page_size,
        latency: args.latency.clone(),
        holds: vec![],
        recovery: None,
        frozen: None,
        idle: None,
        failed: vec![],
    };
    let highest = args.rates.iter().copied().max().context("a rate")?;
    let mut pairs: Vec<(u32, u32)> =
        args.rates.iter().flat_map(|rate| args.replicas.iter().map(|n| (*rate, *n))).collect();
    pairs.extend((args.crowd > 0).then_some((highest, args.crowd)));
    for (rate, replicas) in pairs {
        let name = format!("{rate}/s, {replicas} replicas");
        if !args.wants(&name) {
            continue;
        }
        match hold(args, servers, rate, replicas).await {
            Ok(hold) => {
                eprintln!(
                    "{name}: {:.2} % used, {:.3} % throttled, {:.2} % void",
                    100.0 * hold.used(),
                    100.0 * hold.throttled(),
                    100.0 * hold.void(),
                );
                quota.holds.push(hold);
            }
            Err(error) => quota.fails(&name, &error),
        }
    }
    if args.wants("halved") {
        match recover(args, servers, highest).await {
            Ok(recovery) => quota.recovery = Some(recovery),
            Err(error) => quota.fails("halved", &error),
        }
    }
    if args.wants("frozen") {
        match freeze(args, servers, highest).await {
            Ok(frozen) => quota.frozen = Some(frozen),
            Err(error) => quota.fails("frozen", &error),
        }
    }
    if args.wants("idle") {
        match idle(args, servers, highest).await {
            Ok(idle) => quota.idle = Some(idle),
            Err(error) => quota.fails("idle", &error),
        }
    }
    Ok(quota)
}

impl Quota {
    fn fails(&mut self, name: &str, error: &anyhow::Error) {
        eprintln!("{name}: {error:#}");
        self.failed.push((name.to_owned(), format!("{error:#}")));
    }
}

/// Consumers at work against an API with a rate, long enough to have settled.
struct Stand<'a> {
    api: Api,
    world: World<'a>,
    consumers: Vec<Program>,
    _dir: tempfile::TempDir,
}

impl<'a> Stand<'a> {
    /// Publishes pages for so long beyond the warm-up, starts the consumers, and warms up.
    async fn warm(
        args: &Args,
        servers: &'a Servers,
        rate: u32,
        replicas: u32,
        lasts: Duration,
    ) -> anyhow::Result<Self> {
        let seconds = (args.warmup() + lasts + SPARE).as_secs();
        let rows = seconds * u64::from(rate) * u64::from(args.page_size);
        let mut stand = Self::idle(args, servers, rate, replicas, rows).await?;
        stand.world.produce(&[]).await?;
        for _ in 0..replicas {
            stand.consumers.push(stand.world.pagemill("pagemill-consumer", &[])?);
        }
        sleep(args.warmup()).await;
        all_alive(&stand.consumers)?;
        Ok(stand)
    }

    /// The same before anything was published or started.
    async fn idle(
        args: &Args,
        servers: &'a Servers,
        rate: u32,
        replicas: u32,
        rows: u64,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let serve = ["--rows", &rows.to_string(), "--rate", &rate.to_string(), "--latency", &args.latency];
        let api = Api::start(&args.bin, &serve.map(str::to_owned), &log_in(&dir, "api.log")?).await?;
        let settings = Settings {
            workers: None,
            rate: &format!("{{ per_second = {rate} }}"),
            page_size: args.page_size,
            writers: (replicas > CROWD).then_some(1),
            keep_responses: None,
        };
        let world = World::new(servers, &args.bin, &api.url, settings).await?;
        Ok(Self { api, world, consumers: vec![], _dir: dir })
    }

    /// The API's counts at the moment a request came, so that whole intervals are counted.
    async fn edge(&self) -> anyhow::Result<(Instant, Counts)> {
        let before = self.api.counts().await?;
        loop {
            let counts = self.api.counts().await?;
            if counts.seen > before.seen {
                return Ok((Instant::now(), counts));
            }
            all_alive(&self.consumers)?;
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Reservations so far, and the slots that they got.
    async fn reserved(&self) -> anyhow::Result<(i64, i64)> {
        let sql = "select coalesce(sum(reservations), 0)::bigint, coalesce(sum(requests), 0)::bigint from pagemill.quotas";
        let row = self.world.db().query_one(sql, &[]).await?;
        Ok((row.get(0), row.get(1)))
    }

    /// How many lines the consumers logged; the first is shown.
    fn warnings(&self) -> usize {
        let said: String = self.consumers.iter().map(Program::said).collect();
        if let Some(first) = said.lines().next() {
            eprintln!("a consumer said: {first}");
        }
        said.lines().count()
    }

    fn cpu(&self) -> f64 {
        self.consumers.iter().map(Program::cpu).sum()
    }

    /// All consumers end at once: what they hold is of no use any more.
    async fn clear(self) -> anyhow::Result<()> {
        drop(self.consumers);
        self.world.clear().await
    }
}

async fn hold(args: &Args, servers: &Servers, rate: u32, replicas: u32) -> anyhow::Result<Hold> {
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
async fn recover(args: &Args, servers: &Servers, rate: u32) -> anyhow::Result<Recovery> {
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

async fn freeze(args: &Args, servers: &Servers, rate: u32) -> anyhow::Result<Frozen> {
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

async fn idle(args: &Args, servers: &Servers, rate: u32) -> anyhow::Result<Idle> {
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
