//! What all runs of `speed` share, and the run that each contestant needs.

use anyhow::Context;

use crate::{
    api::Api,
    args::Args,
    contestant::{Contestant, Variant},
    measurement::{Cpu, Run},
    peers::Peers,
    process::Used,
    repull::Repull,
    servers::Servers,
    world::{Settings, World},
};

pub(super) const PAGE_ROWS: u64 = 100;

/// How a run came out.
pub(super) enum Outcome {
    Measured(Run),
    Skipped(String),
}

/// What all runs share.
pub(super) struct Bench<'a> {
    pub(super) args: &'a Args,
    pub(super) servers: &'a Servers,
    pub(super) api: Api,
    pub(super) peers: Peers,
}

impl Bench<'_> {
    pub(super) fn rows(&self) -> u64 {
        self.args.pages() * PAGE_ROWS
    }

    pub(super) async fn measure(
        &self,
        contestant: Contestant,
        round: u32,
        repulls: &mut Vec<Repull>,
    ) -> anyhow::Result<Outcome> {
        match contestant {
            Contestant::Embedded => self.one_process(contestant, round, true).await,
            Contestant::InProcess => self.one_process(contestant, round, false).await,
            Contestant::Consumers { consumers, workers, variant } => {
                let one = consumers == 1 && workers == self.args.workers && variant == Variant::Whole;
                let repulled = (one && self.args.baseline.is_none()).then_some(repulls);
                let world = self
                    .world(Settings {
                        rate: variant.rate(),
                        keep_responses: variant.keep_responses(),
                        ..self.settings(workers)
                    })
                    .await?;
                self.consumers(contestant, round, world, consumers, repulled).await
            }
            Contestant::Baseline => {
                let bin = self.args.baseline.as_deref().context("--baseline")?;
                // Each build migrates a database of its own.
                let settings = self.settings(self.args.workers);
                let world = World::new(self.servers, bin, &self.api.url, settings).await?;
                self.consumers(contestant, round, world, 1, None).await
            }
            Contestant::GoPool => self.peer(contestant, round, "baseline", &["pool"], None).await,
            Contestant::GoRabbit => {
                self.peer(contestant, round, "baseline", &["consume"], Some(&["publish"])).await
            }
            Contestant::Celery { pool } => self.celery(contestant, round, pool).await,
            Contestant::Dlt => {
                self.peer(contestant, round, "python/bin/python", &["dlt_peer.py"], None).await
            }
            Contestant::Faucet => {
                self.peer(contestant, round, "faucet/bin/faucet", &["run", "faucet.yaml"], None).await
            }
            Contestant::Limit(probe) => self.limit(probe, round).await.map(Outcome::Measured),
        }
    }

    pub(super) fn settings(&self, workers: u32) -> Settings<'static> {
        Settings {
            workers: Some(workers),
            rate: Variant::Whole.rate(),
            page_size: PAGE_ROWS as u32,
            writers: None,
            keep_responses: None,
        }
    }

    pub(super) async fn world(&self, settings: Settings<'_>) -> anyhow::Result<World<'_>> {
        World::new(self.servers, &self.args.bin, &self.api.url, settings).await
    }

    pub(super) fn ran(
        &self,
        contestant: Contestant,
        round: u32,
        seconds: f64,
        cpu: Cpu,
        used: &[Used],
    ) -> Run {
        Run {
            name: contestant.name(),
            round,
            seconds,
            publish_seconds: None,
            rows: self.rows(),
            pages: self.args.pages(),
            cpu: Cpu { program: Some(used.iter().map(|u| u.cpu).sum()), ..cpu },
            peak_rss: used.iter().map(|u| u.peak_rss).max(),
            processes: used.iter().map(|u| u.processes).sum(),
        }
    }
}
