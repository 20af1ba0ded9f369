//! Points 4 and 5: how much of a quota consumers use, by their number, and how much they overstep it.

mod stand;
mod trial;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::{api::Counts, args::Args, machine::Machine, recovery::Recovery, servers::Servers};
use trial::{freeze, hold, idle, recover};

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

/// Measures everything. A failure is printed, and does not end the rest.
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
