//! What one Pagemill works in: a database, a source of its own name (and with it queues), a config.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;
use tokio_postgres::Client;

use crate::{
    process::{Program, Used},
    servers::{Servers, connect},
};

pub(crate) const DAY: &str = "2026-01-15";
pub(crate) const ACCOUNT: &str = "1001";
pub(crate) const TOKEN: &str = "bench";
pub(crate) const STREAM: &str = "creative";

pub(crate) struct World<'a> {
    servers: &'a Servers,
    bin: PathBuf,
    pub(crate) dir: TempDir,
    pub(crate) source: String,
    db: Option<Client>,
}

/// Settings of a world's config.
#[derive(Clone, Copy)]
pub(crate) struct Settings<'a> {
    pub(crate) workers: Option<u32>,
    /// As a definition has it: `"unlimited"` with its quotes, or `{ per_second = 5 }`.
    pub(crate) rate: &'a str,
    pub(crate) page_size: u32,
    /// Transactions at a time in each consumer; the default if `None`.
    pub(crate) writers: Option<u32>,
    /// `keep_responses`; the default if `None`.
    pub(crate) keep_responses: Option<bool>,
}

impl<'a> World<'a> {
    /// A fresh, migrated database, and a config against the API at `url`.
    pub(crate) async fn new(
        servers: &'a Servers,
        bin: &Path,
        url: &str,
        settings: Settings<'_>,
    ) -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let source = format!("bench{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        servers.create_database(&source).await?;
        let mut world = Self { servers, bin: bin.to_owned(), dir: TempDir::new()?, source, db: None };
        fs::write(world.config(), world.configured(url, settings))?;
        fs::write(world.dir.path().join("token"), TOKEN)?;
        world.pagemill("pagemill", &["migrate"])?.ended().await.context("pagemill migrate")?;
        world.db = Some(connect(&world.postgres_url()).await?);
        Ok(world)
    }

    fn configured(&self, url: &str, settings: Settings<'_>) -> String {
        let workers = settings.workers.map_or("\"auto\"".to_owned(), |workers| workers.to_string());
        let writers = settings.writers.map(|writers| format!("writers = {writers}\n")).unwrap_or_default();
        let kept =
            settings.keep_responses.map(|keep| format!("keep_responses = {keep}\n")).unwrap_or_default();
        format!(
            "[postgres]\nurl = \"{}\"\n[amqp]\nurl = \"{}\"\n[consumer]\nworkers = {workers}\n{writers}{kept}\
             [[source]]\nuse = \"xiaohongshu\"\nname = \"{}\"\nbase_url = \"{url}\"\nstreams = [\"{STREAM}\"]\n\
             accounts = [\"{ACCOUNT}\"]\ntoken = {{ file = \"token\" }}\nrate = {}\nready_at = \"00:00\"\nrestate = []\n\
             defaults = {{ pager = {{ size = {} }} }}\n",
            self.postgres_url(),
            self.servers.amqp,
            self.source,
            settings.rate,
            settings.page_size,
        )
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("pagemill.toml")
    }

    pub(crate) fn postgres_url(&self) -> String {
        self.servers.database_url(&self.source)
    }

    pub(crate) fn table(&self) -> String {
        format!("{}_{STREAM}", self.source)
    }

    pub(crate) fn db(&self) -> &Client {
        self.db.as_ref().expect("connected when the world was made")
    }

    /// Starts one of the three programs with this world's config.
    pub(crate) fn pagemill(&self, program: &str, args: &[&str]) -> anyhow::Result<Program> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut command = Command::new(self.bin.join(program));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("PAGEMILL_CONFIG", self.config())
            .env("PAGEMILL_LOG", "warn");
        let log = format!("{program}-{}.log", COUNT.fetch_add(1, Ordering::Relaxed));
        Program::start(command, &self.dir.path().join(log))
    }

    /// The producer, to its end: every page but the first is published.
    pub(crate) async fn produce(&self, args: &[&str]) -> anyhow::Result<Used> {
        self.pagemill("pagemill-producer", &[&["--date", DAY], args].concat())?.ended().await
    }

    /// Waits until no partition is open; `look` is called now and then, and may give up.
    pub(crate) async fn sealed(&self, mut look: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let open = "select count(*) from pagemill.partitions where state = 'open'";
        while self.count(open).await? > 0 {
            look()?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let bad = "select count(*) from pagemill.partitions where state <> 'sealed'";
        ensure!(self.count(bad).await? == 0, "a partition was not sealed");
        Ok(())
    }

    pub(crate) async fn count(&self, sql: &str) -> anyhow::Result<i64> {
        Ok(self.db().query_one(sql, &[]).await?.get(0))
    }

    /// Every row is there.
    pub(crate) async fn assert_rows(&self, rows: u64) -> anyhow::Result<()> {
        let there = self.count(&format!("select count(*) from {}", self.table())).await?;
        ensure!(there == i64::try_from(rows)?, "{there} rows are stored, of {rows}");
        Ok(())
    }

    /// Takes away what it left on the servers.
    pub(crate) async fn clear(mut self) -> anyhow::Result<()> {
        self.db = None;
        self.servers.delete_queues(&self.source).await?;
        self.servers.drop_database(&self.source).await
    }
}

/// Fails when one of the programs has ended.
pub(crate) fn all_alive(programs: &[Program]) -> anyhow::Result<()> {
    match programs.iter().find(|program| !program.is_alive()) {
        Some(ended) => bail!("a consumer ended: {}", ended.output()),
        None => Ok(()),
    }
}

/// A file for a program's output.
pub(crate) fn log_in(dir: &TempDir, name: &str) -> anyhow::Result<PathBuf> {
    let path = dir.path().join(name);
    File::create(&path)?;
    Ok(path)
}

/// Waits until something holds, for at most so long.
pub(crate) async fn within(
    patience: Duration,
    what: &str,
    mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !holds().await? {
        ensure!(begun.elapsed() < patience, "{what}: not within {patience:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
