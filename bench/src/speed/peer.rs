//! Runs of others' programs.

use std::{path::Path, time::Duration};

use super::bench::{Bench, Outcome};
use crate::{
    contestant::Contestant,
    measurement::{Meter, Run},
    peer_database::PeerDatabase,
    peers::PeerTask,
    process::Program,
    world::{log_in, within},
};

impl Bench<'_> {
    /// A peer that ends when all is stored; `publish` fills its queue first.
    pub(super) async fn peer(
        &self,
        contestant: Contestant,
        round: u32,
        tool: &str,
        args: &[&str],
        publish: Option<&[&str]>,
    ) -> anyhow::Result<Outcome> {
        let tool = match self.peers.tool(tool) {
            Ok(tool) => tool,
            Err(why) => return Ok(Outcome::Skipped(why)),
        };
        let place = self.peer_database().await?;
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
        Ok(Outcome::Measured(Run { publish_seconds: published.map(|p| p.seconds), ..run }))
    }

    pub(super) async fn peer_database(&self) -> anyhow::Result<PeerDatabase<'_>> {
        PeerDatabase::new(self.servers).await
    }

    pub(super) fn task<'b>(&'b self, place: &'b PeerDatabase<'_>) -> PeerTask<'b> {
        PeerTask {
            servers: self.servers,
            database: &place.queue,
            queue: &place.queue,
            api: &self.api.url,
            pages: self.args.pages(),
            workers: self.args.workers,
        }
    }

    pub(super) fn start(
        &self,
        tool: &Path,
        args: &[&str],
        place: &PeerDatabase<'_>,
        log: &str,
    ) -> anyhow::Result<Program> {
        Program::start(self.peers.command(tool, args, &self.task(place)), &log_in(&place.dir, log)?)
    }

    /// Celery's worker does not end by itself: its queue is watched, then its table.
    pub(super) async fn celery(
        &self,
        contestant: Contestant,
        round: u32,
        pool: &str,
    ) -> anyhow::Result<Outcome> {
        let python = match self.peers.tool("python/bin/python") {
            Ok(tool) => tool,
            Err(why) => return Ok(Outcome::Skipped(why)),
        };
        let place = self.peer_database().await?;
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
        Ok(Outcome::Measured(Run { publish_seconds: Some(published.seconds), ..run }))
    }
}
