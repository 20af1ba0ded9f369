//! Points 6 to 8: Pagemill, its peers and the machine's limits at the same work, one after another.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use crate::{
    api::Api,
    args::Args,
    contestant::{Contestant, Way},
    figures::{Cpu, Meter, Run},
    limits::{self, Probe},
    machine::Machine,
    peers::{Errand, Peers},
    place::PeerPlace,
    process::{Program, Used},
    repull::{self, Repull},
    servers::Servers,
    world::{Settings, World, log_in, within},
};

pub(crate) const PAGE_ROWS: u64 = 100;
/// All that `speed` measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Speed {
    pub(crate) machine: Machine,
    pub(crate) pages: u64,
    pub(crate) workers: u32,
    pub(crate) rounds: u32,
    pub(crate) runs: Vec<Run>,
    /// The producer alone, with a page to a row.
    pub(crate) publishing: Vec<Run>,
    pub(crate) repulls: Vec<Repull>,
    /// Who did not run, and why.
    pub(crate) skipped: Vec<(String, String)>,
}

/// How a run came out.
enum Ran {
    Measured(Run),
    Skipped(String),
}

/// What all runs share.
struct Bench<'a> {
    args: &'a Args,
    servers: &'a Servers,
    api: Api,
    peers: Peers,
}

/// Measures everything, round by round.
pub(crate) async fn run(args: &Args, servers: &Servers) -> anyhow::Result<Speed> {
    let pages = args.pages();
    let dir = tempfile::tempdir()?;
    let rows = (pages * PAGE_ROWS).to_string();
    let serve = ["--rows".to_owned(), rows, "--rendered".to_owned()];
    let api = Api::start(&args.bin, &serve, &log_in(&dir, "api.log")?).await?;
    let peers = args.peers();
    let bench = Bench { args, servers, api, peers };
    let mut speed = Speed {
        machine: Machine::read(servers, bench.peers.versions()).await?,
        pages,
        workers: args.workers,
        rounds: args.rounds(),
        runs: vec![],
        publishing: vec![],
        repulls: vec![],
        skipped: vec![],
    };
    // The first pass renders every answer; those after it are served from memory.
    eprintln!("warming the API: {pages} pages");
    bench.limit(Probe::Fetch, 0).await?;
    for round in 1..=speed.rounds {
        for contestant in Contestant::all(args) {
            let name = contestant.name();
            if speed.skipped.iter().any(|(skipped, _)| *skipped == name) {
                continue;
            }
            let ran = bench.measure(contestant, round, &mut speed.repulls).await;
            match ran.unwrap_or_else(|error| Ran::Skipped(format!("failed: {error:#}"))) {
                Ran::Measured(run) => {
                    eprintln!("{name}, round {round}: {:.0} rows/s", run.rows_a_second());
                    speed.runs.push(run);
                }
                Ran::Skipped(why) => {
                    eprintln!("{name}: skipped, {why}");
                    speed.skipped.push((name, why));
                }
            }
        }
    }
    if args.wants("publish") {
        for (jobs, round) in [(pages, 1), (pages * PAGE_ROWS, 1)] {
            speed.publishing.push(bench.publishing(jobs, round).await?);
        }
    }
    Ok(speed)
}

impl Bench<'_> {
    fn rows(&self) -> u64 {
        self.args.pages() * PAGE_ROWS
    }

    async fn measure(
        &self,
        contestant: Contestant,
        round: u32,
        repulls: &mut Vec<Repull>,
    ) -> anyhow::Result<Ran> {
        match contestant {
            Contestant::Embedded => self.one_process(contestant, round, true).await,
            Contestant::InProcess => self.one_process(contestant, round, false).await,
            Contestant::Consumers { consumers, workers, way } => {
                let repulled =
                    (consumers == 1 && workers == self.args.workers && way == Way::Whole).then_some(repulls);
                let world = self
                    .world(Settings {
                        rate: way.rate(),
                        keep_responses: way.keep_responses(),
                        ..self.settings(workers)
                    })
                    .await?;
                self.consumers(contestant, round, world, consumers, repulled).await
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
            Contestant::Limit(probe) => self.limit(probe, round).await.map(Ran::Measured),
        }
    }

    fn settings(&self, workers: u32) -> Settings<'static> {
        Settings {
            workers: Some(workers),
            rate: Way::Whole.rate(),
            page_size: PAGE_ROWS as u32,
            writers: None,
            keep_responses: None,
        }
    }

    async fn world(&self, settings: Settings<'_>) -> anyhow::Result<World<'_>> {
        World::new(self.servers, &self.args.bin, &self.api.url, settings).await
    }

    fn ran(&self, contestant: Contestant, round: u32, seconds: f64, cpu: Cpu, used: &[Used]) -> Run {
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

    /// `pagemill run`: the queue within the process, and perhaps the database too.
    async fn one_process(&self, contestant: Contestant, round: u32, embedded: bool) -> anyhow::Result<Ran> {
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
                return Ok(Ran::Skipped("built without it".into()));
            }
            ended => ended?,
        };
        let (_, cpu) = meter.read();
        let said = std::fs::read_to_string(log)?;
        let status: serde_json::Value = serde_json::from_str(said.lines().last().unwrap_or_default())?;
        ensure!(status["rows"] == self.rows() && status["state"] == "complete", "{status}");
        world.clear().await?;
        Ok(Ran::Measured(self.ran(contestant, round, used.seconds, cpu, &[used])))
    }

    async fn consumers(
        &self,
        contestant: Contestant,
        round: u32,
        world: World<'_>,
        consumers: usize,
        repulls: Option<&mut Vec<Repull>>,
    ) -> anyhow::Result<Ran> {
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
        Ok(Ran::Measured(run))
    }

    /// Consumers until all is sealed.
    async fn consume(&self, world: &World<'_>, consumers: usize) -> anyhow::Result<(f64, Cpu, Vec<Used>)> {
        let meter = Meter::start(self.servers, Some(&self.api.url));
        let start = |_| world.pagemill("pagemill-consumer", &["--until-idle"]);
        let mut programs = (0..consumers).map(start).collect::<anyhow::Result<Vec<Program>>>()?;
        world
            .sealed(|| {
                programs.iter_mut().for_each(Program::look);
                let gone = programs.iter().all(|program| !program.is_alive());
                ensure!(!gone, "no consumer is left: {}", programs[0].said());
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

    /// A peer that ends when all is stored; `publish` fills its queue first.
    async fn peer(
        &self,
        contestant: Contestant,
        round: u32,
        tool: &str,
        args: &[&str],
        publish: Option<&[&str]>,
    ) -> anyhow::Result<Ran> {
        let tool = match self.peers.tool(tool) {
            Ok(tool) => tool,
            Err(why) => return Ok(Ran::Skipped(why)),
        };
        let place = self.peer_place().await?;
        if contestant == Contestant::Faucet {
            // Its sink wants its table.
            place.execute("create table r_peer (data jsonb)").await?;
        }
        let published = match publish {
            Some(args) => Some(self.start(&tool, args, &place, "publish")?.ended().await?),
            None => None,
        };
        let meter = Meter::start(self.servers, Some(&self.api.url));
        let used = self.start(&tool, args, &place, "log")?.ended().await?;
        let (_, cpu) = meter.read();
        let table = if contestant == Contestant::Dlt { "dlt_bench.report" } else { "r_peer" };
        place.assert_rows(table, self.rows()).await?;
        place.clear().await?;
        let run = self.ran(contestant, round, used.seconds, cpu, &[used]);
        Ok(Ran::Measured(Run { publish_seconds: published.map(|p| p.seconds), ..run }))
    }

    async fn peer_place(&self) -> anyhow::Result<PeerPlace<'_>> {
        PeerPlace::new(self.servers).await
    }

    fn errand<'b>(&'b self, place: &'b PeerPlace<'_>) -> Errand<'b> {
        Errand {
            servers: self.servers,
            database: &place.queue,
            queue: &place.queue,
            api: &self.api.url,
            pages: self.args.pages(),
            workers: self.args.workers,
        }
    }

    fn start(
        &self,
        tool: &std::path::Path,
        args: &[&str],
        place: &PeerPlace<'_>,
        log: &str,
    ) -> anyhow::Result<Program> {
        Program::start(self.peers.command(tool, args, &self.errand(place)), &log_in(&place.dir, log)?)
    }

    /// Celery's worker does not end by itself: its queue is watched, then its table.
    async fn celery(&self, contestant: Contestant, round: u32, pool: &str) -> anyhow::Result<Ran> {
        let python = match self.peers.tool("python/bin/python") {
            Ok(tool) => tool,
            Err(why) => return Ok(Ran::Skipped(why)),
        };
        let place = self.peer_place().await?;
        let published =
            self.start(&python, &["celery_peer.py", "publish"], &place, "publish")?.ended().await?;
        // Prefork: as many processes as suit the work, by the issue's own measure.
        let concurrency = if pool == "prefork" { 4.min(self.args.workers) } else { self.args.workers };
        let worker = [
            "-m",
            "celery",
            "-A",
            "celery_peer",
            "worker",
            "-P",
            pool,
            "-c",
            &concurrency.to_string(),
            "--without-gossip",
            "--without-mingle",
            "-l",
            "WARNING",
        ];
        let meter = Meter::start(self.servers, Some(&self.api.url));
        let mut program = self.start(&python, &worker, &place, "log")?;
        self.servers.drained(&place.queue, || program.is_alive()).await?;
        let rows = i64::try_from(self.rows())?;
        within(Duration::from_secs(60), "the last pages", async || {
            program.look();
            Ok(place.count("r_peer").await? >= rows)
        })
        .await?;
        let (seconds, cpu) = meter.read();
        let used = program.stopped().await?;
        place.assert_rows("r_peer", self.rows()).await?;
        place.clear().await?;
        let run = self.ran(contestant, round, seconds, cpu, &[used]);
        Ok(Ran::Measured(Run { publish_seconds: Some(published.seconds), ..run }))
    }

    async fn limit(&self, probe: Probe, round: u32) -> anyhow::Result<Run> {
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

    async fn probe(&self, world: &World<'_>, probe: Probe, round: u32) -> anyhow::Result<Run> {
        let mut command = Command::new(std::env::current_exe()?);
        let word = format!("{probe:?}").to_lowercase();
        command
            .args(["probe", &word, "--count", &self.args.pages().to_string(), "--config"])
            .arg(world.config());
        let program = Program::start(command, &log_in(&world.dir, &word)?)?;
        let log: PathBuf = program.log().to_owned();
        program.ended().await?;
        limits::read(probe.title(), round, self.args.pages(), &std::fs::read_to_string(log)?)
    }

    /// The producer alone: a page to a row makes a million jobs of the same report.
    async fn publishing(&self, jobs: u64, round: u32) -> anyhow::Result<Run> {
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
