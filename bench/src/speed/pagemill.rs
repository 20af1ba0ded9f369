//! Runs of Pagemill itself: in one process, over RabbitMQ, and the producer alone.

use anyhow::ensure;

use super::bench::{Bench, Outcome};
use crate::{
    contestant::Contestant,
    measurement::{Cpu, Meter, Run},
    process::{Program, Used},
    repull::{self, Repull},
    world::{Settings, World},
};

impl Bench<'_> {
    /// `pagemill run`: the queue within the process, and perhaps the database too.
    pub(super) async fn one_process(
        &self,
        contestant: Contestant,
        round: u32,
        embedded: bool,
    ) -> anyhow::Result<Outcome> {
        let world = self.world(self.settings(self.args.workers)).await?;
        let url = world.postgres_url();
        let place = if embedded { ["--data-dir", "data"] } else { ["--postgres", url.as_str()] };
        let meter = Meter::start(self.servers, Some(&self.api.url));
        let program = world
            .pagemill("pagemill", &[&["run", "--date", crate::world::DAY, "--json"], &place[..]].concat())?;
        let log = program.log().to_owned();
        let used = match program.ended().await {
            Err(error) if error.to_string().contains("no embedded database") => {
                world.clear().await?;
                return Ok(Outcome::Skipped("built without it".into()));
            }
            ended => ended?,
        };
        let (_, cpu) = meter.read();
        let output = std::fs::read_to_string(log)?;
        let status: serde_json::Value = serde_json::from_str(output.lines().last().unwrap_or_default())?;
        ensure!(status["rows"] == self.rows() && status["state"] == "complete", "{status}");
        world.clear().await?;
        Ok(Outcome::Measured(self.ran(contestant, round, used.seconds, cpu, &[used])))
    }

    pub(super) async fn consumers(
        &self,
        contestant: Contestant,
        round: u32,
        world: World<'_>,
        consumers: usize,
        repulls: Option<&mut Vec<Repull>>,
    ) -> anyhow::Result<Outcome> {
        let before = repull::State::read(&world).await?;
        let published = world.produce(&[]).await?;
        let (seconds, cpu, used) = self.consume(&world, consumers).await?;
        world.assert_rows(self.rows()).await?;
        let run = self.ran(contestant, round, seconds, cpu, &used);
        let run = Run { publish_seconds: Some(published.seconds), ..run };
        if let Some(repulls) = repulls {
            let pulled = repull::State::read(&world).await?;
            let published = world.produce(&["--again"]).await?;
            let (seconds, cpu, used) = self.consume(&world, consumers).await?;
            let again = self.ran(contestant, round, seconds, cpu, &used);
            let after = repull::State::read(&world).await?;
            let first_seconds = run.seconds + run.publish_seconds.unwrap_or_default();
            let took = (first_seconds, again.seconds + published.seconds);
            let cpu = [run.cpu, again.cpu];
            repulls.push(Repull::between(&world, round, took, cpu, [before, pulled, after]).await?);
        }
        world.clear().await?;
        Ok(Outcome::Measured(run))
    }

    /// Consumers until all is sealed.
    pub(super) async fn consume(
        &self,
        world: &World<'_>,
        consumers: usize,
    ) -> anyhow::Result<(f64, Cpu, Vec<Used>)> {
        let meter = Meter::start(self.servers, Some(&self.api.url));
        let start = |_| world.pagemill("pagemill-consumer", &["--until-idle"]);
        let mut programs = (0..consumers).map(start).collect::<anyhow::Result<Vec<Program>>>()?;
        world
            .sealed(|| {
                programs.iter_mut().for_each(Program::look);
                let gone = programs.iter().all(|program| !program.is_alive());
                ensure!(!gone, "no consumer is left: {}", programs[0].output());
                Ok(())
            })
            .await?;
        let (seconds, cpu) = meter.read();
        let mut used = Vec::new();
        for program in programs {
            used.push(program.ended().await?);
        }
        Ok((seconds, cpu, used))
    }

    /// The producer alone: a page to a row makes a million jobs of the same report.
    pub(super) async fn publishing(&self, jobs: u64, round: u32) -> anyhow::Result<Run> {
        let page_size = u32::try_from(self.rows() / jobs)?;
        let settings = Settings { page_size, ..self.settings(self.args.workers) };
        let world = self.world(settings).await?;
        let meter = Meter::start(self.servers, Some(&self.api.url));
        let used = world.produce(&[]).await?;
        let (_, cpu) = meter.read();
        world.clear().await?;
        Ok(Run {
            name: format!("pagemill-producer, {jobs} jobs"),
            round,
            seconds: used.seconds,
            publish_seconds: Some(used.seconds),
            rows: jobs,
            pages: jobs,
            cpu: Cpu { program: Some(used.cpu), ..cpu },
            peak_rss: Some(used.peak_rss),
            processes: 1,
        })
    }
}
