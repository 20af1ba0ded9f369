//! Runs of the limits, each in a process of its own.

use std::{path::PathBuf, process::Command};

use super::bench::Bench;
use crate::{
    measurement::Run,
    probe::{self, Probe},
    process::Program,
    world::{World, log_in},
};

impl Bench<'_> {
    pub(super) async fn limit(&self, probe: Probe, round: u32) -> anyhow::Result<Run> {
        let world = self.world(self.settings(self.args.workers)).await?;
        // What it is to consume, or to copy.
        match probe {
            Probe::Consume => drop(self.probe(&world, Probe::Publish, round).await?),
            Probe::Copy => drop(self.probe(&world, Probe::Store, round).await?),
            _ => {}
        }
        let run = self.probe(&world, probe, round).await?;
        world.clear().await?;
        Ok(run)
    }

    pub(super) async fn probe(&self, world: &World<'_>, probe: Probe, round: u32) -> anyhow::Result<Run> {
        let mut command = Command::new(std::env::current_exe()?);
        let word = format!("{probe:?}").to_lowercase();
        command
            .args(["probe", &word, "--count", &self.args.pages().to_string(), "--config"])
            .arg(world.config());
        let program = Program::start(command, &log_in(&world.dir, &word)?)?;
        let log: PathBuf = program.log().to_owned();
        program.ended().await?;
        probe::read(probe.title(), round, self.args.pages(), &std::fs::read_to_string(log)?)
    }
}
