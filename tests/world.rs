//! A small world for one test: a database, a source (and with it queues) and a simulator of its own.

use std::{
    fs,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use pagemill_simulator::{Latency, Simulator, SimulatorConfig, TRUTH_SQL, truth_digest};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use tokio_postgres::{Client, NoTls};

/// Longer than anything takes that works, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
pub(crate) const DAY: &str = "2026-01-15";
pub(crate) const ACCOUNT: &str = "1001";
const TOKEN: &str = "a-canary-token-7f3a";

pub(crate) struct World {
    definition: &'static str,
    streams: Vec<&'static str>,
    pub(crate) simulator: Simulator,
    pub(crate) simulated: SimulatorConfig,
    pub(crate) source: String,
    pub(crate) dir: TempDir,
    database: String,
}

/// An API that takes its time, so that something can happen meanwhile.
pub(crate) fn slow(rows: u64) -> SimulatorConfig {
    let latency = Latency { from: Duration::from_millis(20), to: Duration::from_millis(60) };
    SimulatorConfig { rows, latency, ..SimulatorConfig::default() }
}

/// What a command said, and how it ended.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A consumer that runs; killed when dropped.
pub(crate) struct Consumer {
    child: Child,
    log: PathBuf,
}

impl World {
    /// An API of so many rows, without faults, and a migrated database.
    pub(crate) async fn of(rows: u64) -> Self {
        Self::with(SimulatorConfig { rows, ..SimulatorConfig::default() }, "").await
    }

    /// `settings` are lines of `[consumer]`.
    pub(crate) async fn with(simulated: SimulatorConfig, settings: &str) -> Self {
        let world = Self::unmigrated(simulated, settings).await;
        world.pagemill(&["migrate"]).await.ok();
        world
    }

    pub(crate) async fn unmigrated(simulated: SimulatorConfig, settings: &str) -> Self {
        Self::new("xiaohongshu", &["creative"], simulated, settings).await
    }

    /// A shipped definition's streams, from the simulator that speaks its dialect, and a migrated
    /// database.
    pub(crate) async fn speaking(
        definition: &'static str,
        streams: &[&'static str],
        simulated: SimulatorConfig,
    ) -> Self {
        let world = Self::new(definition, streams, simulated, "").await;
        world.pagemill(&["migrate"]).await.ok();
        world
    }

    async fn new(
        definition: &'static str,
        streams: &[&'static str],
        mut simulated: SimulatorConfig,
        settings: &str,
    ) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        simulated.port = 0;
        simulated.token = Some(TOKEN.to_owned());
        let source = format!("t{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let database = format!("pagemill_{source}");
        let admin = connect(&postgres_url()).await;
        admin.batch_execute(&format!("create database {database}")).await.unwrap();
        let simulator = Simulator::start(simulated.clone()).await.unwrap();
        let (streams, dir) = (streams.to_vec(), TempDir::new().unwrap());
        let world = Self { definition, streams, simulator, simulated, source, database, dir };
        world.configure(settings, "");
        world
    }

    /// Writes the config anew; `more` are further lines of the source.
    pub(crate) fn configure(&self, settings: &str, more: &str) {
        let Self { definition, streams, source, .. } = self;
        let config = format!(
            "[postgres]\nurl = \"{}\"\n[amqp]\nurl = \"{}\"\n[consumer]\ngrace = \"2s\"\n{}{settings}\n\
             [[source]]\nuse = \"{definition}\"\nname = \"{source}\"\nbase_url = \"{}\"\nstreams = {streams:?}\n\
             accounts = [\"{ACCOUNT}\"]\ntoken = {{ env = \"TEST_TOKEN\" }}\n{}{more}\n",
            self.postgres_url(),
            amqp_url(),
            if settings.contains("retry_delays") { "" } else { "retry_delays = [\"100ms\", \"200ms\"]\n" },
            self.simulator.url(),
            if more.contains("rate") { "" } else { "rate = \"unlimited\"\n" },
        );
        fs::write(self.config(), config).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("pagemill.toml")
    }

    pub(crate) fn postgres_url(&self) -> String {
        let url = postgres_url();
        let (server, _) = url.rsplit_once('/').unwrap();
        format!("{server}/{}", self.database)
    }

    /// A binary with this world's config.
    pub(crate) fn command(&self, binary: &str, args: &[&str]) -> Command {
        let mut command = Command::new(self::binary(binary));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("PAGEMILL_CONFIG", self.config())
            .env("TEST_TOKEN", TOKEN)
            .env_remove("PAGEMILL_LOG")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn pagemill(&self, args: &[&str]) -> Ran {
        run(self.command("pagemill", args)).await
    }

    /// The producer, asked for the test's day.
    pub(crate) async fn producer(&self, args: &[&str]) -> Ran {
        run(self.command("pagemill-producer", &[&["--date", DAY], args].concat())).await
    }

    pub(crate) fn consumer(&self) -> Consumer {
        self.consumer_with(&[])
    }

    /// A consumer with further environment variables.
    pub(crate) fn consumer_with(&self, environment: &[(&str, &str)]) -> Consumer {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let log = self.dir.path().join(format!("consumer-{}.log", COUNT.fetch_add(1, Ordering::Relaxed)));
        let mut command = self.command("pagemill-consumer", &[]);
        command
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap());
        Consumer { child: command.spawn().unwrap(), log }
    }

    pub(crate) async fn db(&self) -> Client {
        connect(&self.postgres_url()).await
    }

    /// The newest run, as `pagemill status --json` shows it.
    pub(crate) async fn status(&self) -> Value {
        let ran = self.pagemill(&["status", "--json"]).await.ok();
        serde_json::from_str(ran.stdout.lines().next().expect("a run")).unwrap()
    }

    /// Waits until the newest run is no longer running.
    pub(crate) async fn ended(&self) -> Value {
        let db = self.db().await;
        let begun = Instant::now();
        while db
            .query_one("select not exists (select from pagemill.partitions) or exists (select from pagemill.partitions where state = 'open')", &[])
            .await
            .unwrap()
            .get(0)
        {
            assert!(begun.elapsed() < PATIENCE, "the run does not end: {}", self.status().await);
            sleep(Duration::from_millis(50)).await;
        }
        self.status().await
    }

    /// Waits until so many pages are done.
    pub(crate) async fn pages_done(&self, pages: i64) {
        let db = self.db().await;
        let begun = Instant::now();
        while count(&db, "select coalesce(sum(done), 0)::bigint from pagemill.partitions").await < pages {
            assert!(begun.elapsed() < PATIENCE, "{pages} pages are not done: {}", self.status().await);
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Dead letters as listed.
    pub(crate) async fn dead(&self) -> Vec<Value> {
        let ran = self.pagemill(&["dead", "list", "--json"]).await.ok();
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The run is sealed, the table holds exactly what the seed says, and a recount agrees.
    pub(crate) async fn assert_sealed_truth(&self) {
        let status = self.ended().await;
        assert_eq!(status["state"], "complete", "{status} {:?}", self.dead().await);
        self.assert_truth().await;
        self.pagemill(&["verify", status["run"].as_str().unwrap()]).await.ok();
    }

    pub(crate) async fn assert_truth(&self) {
        let table = format!("{}_creative", self.source);
        let sql = TRUTH_SQL.replace("{table}", &table).replace("{where}", "true");
        let digest: String = self.db().await.query_one(&sql, &[]).await.unwrap().get(0);
        assert_eq!(digest, truth_digest(&self.simulated, ACCOUNT, DAY.parse().unwrap()));
    }

    /// The broker, to look behind the program's back.
    pub(crate) async fn broker(&self) -> (lapin::Connection, lapin::Channel) {
        broker().await
    }

    /// No secret was written anywhere in the test's directory but where the test put it.
    pub(crate) fn assert_no_secret_in_logs(&self) {
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "log") {
                assert!(
                    !fs::read_to_string(&path).unwrap().contains(TOKEN),
                    "the token stands in {}",
                    path.display()
                );
            }
        }
    }
}

impl Ran {
    /// It ended well.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.exits(0)
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// It said all of these words, without a panic or a secret.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        let said = format!("{}{}", self.stdout, self.stderr);
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
        assert!(!said.contains("panicked") && !said.contains(TOKEN), "{said}");
        self
    }

    /// The last line of stdout as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.stdout.lines().last().expect("a line of JSON")).unwrap()
    }
}

impl Consumer {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it was not waited for")
    }

    pub(crate) async fn kill_nine(mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent =
            std::process::Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("it does not end: {}", self.log()))
            .unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until its log says so.
    pub(crate) async fn said(&self, word: &str) {
        let begun = Instant::now();
        while !self.log().contains(word) {
            assert!(begun.elapsed() < PATIENCE, "{word:?} was never said: {}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for World {
    /// Takes away what the test left on the servers.
    fn drop(&mut self) {
        let (database, source) = (self.database.clone(), self.source.clone());
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (_connection, channel) = broker().await;
                for queue in
                    ["pages", "pages.low", "dead", "retry.100ms", "retry.200ms", "retry.1s", "retry.30s"]
                {
                    let name = format!("pagemill.{source}.{queue}");
                    let _ = channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await;
                    if queue.starts_with("retry") {
                        let _ = channel
                            .exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default())
                            .await;
                    }
                }
                let admin = connect(&postgres_url()).await;
                let _ =
                    admin.batch_execute(&format!("drop database if exists {database} with (force)")).await;
            });
        });
        let _ = cleaning.join();
    }
}

pub(crate) async fn run(mut command: Command) -> Ran {
    let output = timeout(PATIENCE, command.output()).await.expect("a command that ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A binary of this build.
pub(crate) fn binary(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_pagemill")).with_file_name(name);
    assert!(
        path.exists(),
        "{} is not built: run the tests of the whole workspace, or `cargo build --workspace --bins --all-features` first",
        path.display()
    );
    path
}

pub(crate) async fn count(db: &Client, sql: &str) -> i64 {
    db.query_one(sql, &[]).await.unwrap().get(0)
}

pub(crate) fn postgres_url() -> String {
    std::env::var("PAGEMILL_TEST_POSTGRES_URL")
        .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".into())
}

pub(crate) fn amqp_url() -> String {
    std::env::var("PAGEMILL_TEST_AMQP_URL").unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".into())
}

async fn broker() -> (lapin::Connection, lapin::Channel) {
    let connection =
        lapin::Connection::connect(&amqp_url(), lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
