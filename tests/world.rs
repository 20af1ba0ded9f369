//! A small world for one test: a database, a source (and with it queues) and a simulator of its own.

mod broker;
mod lost_jobs;
mod proxies;

use std::{
    fs,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use pagemill_simulator::{Latency, Simulator, SimulatorConfig, TRUTH_SQL, truth_digest};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use tokio_postgres::{Client, NoTls};

pub(crate) use self::broker::Broker;
use self::{lost_jobs::LostJobs, proxies::Proxies};

/// Longer than anything takes that works, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// Longer than a run stands still if no job is lost.
const STALL: Duration = Duration::from_secs(45);
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
    broker: Broker,
    proxies: Option<Proxies>,
    /// How many consumers were started.
    consumers: AtomicU32,
}

/// An API that takes its time, so that something can happen meanwhile.
pub(crate) fn slow(rows: u64) -> SimulatorConfig {
    let latency = Latency { from: Duration::from_millis(20), to: Duration::from_millis(60) };
    SimulatorConfig { rows, latency, ..SimulatorConfig::default() }
}

/// The output and exit status of a command.
pub(crate) struct Output {
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
        Self::new("xiaohongshu", &["creative"], simulated, settings, Broker::shared()).await
    }

    /// A world whose connections to the broker can be closed, all of them and no others.
    pub(crate) async fn on_own_vhost(simulated: SimulatorConfig) -> Self {
        Self::on_broker(Broker::on_new_vhost().await, simulated, "").await
    }

    /// A world whose programs use this broker.
    pub(crate) async fn on_broker(broker: Broker, simulated: SimulatorConfig, settings: &str) -> Self {
        let world = Self::new("xiaohongshu", &["creative"], simulated, settings, broker).await;
        world.pagemill(&["migrate"]).await.ok();
        world
    }

    /// A world whose programs reach PostgreSQL, RabbitMQ and the API through proxies. The test looks past them.
    pub(crate) async fn behind_proxies(simulated: SimulatorConfig, settings: &str) -> Self {
        let mut world = Self::unmigrated(simulated, settings).await;
        let (postgres_url, amqp_url) = (world.postgres_url(), world.broker.url.clone());
        world.proxies = Some(Proxies::start(&postgres_url, &amqp_url, world.simulator.address()).await);
        world.configure(settings, "");
        world.pagemill(&["migrate"]).await.ok();
        world
    }

    pub(crate) fn proxies(&self) -> &Proxies {
        self.proxies.as_ref().expect("World::behind_proxies")
    }

    pub(crate) async fn close_all_connections(&self) {
        let vhost = self.broker.own_vhost().expect("World::on_own_vhost");
        self.broker.rabbitmqctl(&["close_all_connections", "--vhost", &vhost, "test"]).await;
    }

    /// A shipped definition's streams, from the simulator that speaks its dialect, and a migrated
    /// database.
    pub(crate) async fn speaking(
        definition: &'static str,
        streams: &[&'static str],
        simulated: SimulatorConfig,
    ) -> Self {
        let world = Self::new(definition, streams, simulated, "", Broker::shared()).await;
        world.pagemill(&["migrate"]).await.ok();
        world
    }

    async fn new(
        definition: &'static str,
        streams: &[&'static str],
        mut simulated: SimulatorConfig,
        settings: &str,
        broker: Broker,
    ) -> Self {
        simulated.port = 0;
        simulated.token = Some(TOKEN.to_owned());
        // A virtual host has its world's name, so that `drop_leftovers` finds it.
        let source = broker.own_vhost().unwrap_or_else(unique_name);
        let database = format!("pagemill_{source}");
        let admin = connect(&postgres_url()).await;
        drop_leftovers(&admin).await;
        admin.batch_execute(&format!("create database {database}")).await.unwrap();
        let simulator = Simulator::start(simulated.clone()).await.unwrap();
        let (streams, dir) = (streams.to_vec(), TempDir::new().unwrap());
        let world = Self {
            definition,
            streams,
            simulator,
            simulated,
            source,
            dir,
            database,
            broker,
            proxies: None,
            consumers: AtomicU32::new(0),
        };
        world.configure(settings, "");
        world
    }

    /// Writes the config anew; `more` are further lines of the source.
    pub(crate) fn configure(&self, settings: &str, more: &str) {
        let Self { definition, streams, source, .. } = self;
        let (postgres_url, amqp_url, api_url) = match &self.proxies {
            Some(proxies) => {
                let api = format!("http://{}", proxies.api.address());
                (proxies.postgres_url.clone(), proxies.amqp_url.clone(), api)
            }
            None => (self.postgres_url(), self.broker.url.clone(), self.simulator.url()),
        };
        let config = format!(
            "[postgres]\nurl = \"{postgres_url}\"\n[amqp]\nurl = \"{amqp_url}\"\n[consumer]\ngrace = \"2s\"\n{}{settings}\n\
             [[source]]\nuse = \"{definition}\"\nname = \"{source}\"\nbase_url = \"{api_url}\"\nstreams = {streams:?}\n\
             accounts = [\"{ACCOUNT}\"]\ntoken = {{ env = \"TEST_TOKEN\" }}\n{}{more}\n",
            if settings.contains("retry") { "" } else { "retry = [\"100ms\", \"200ms\"]\n" },
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

    pub(crate) async fn pagemill(&self, args: &[&str]) -> Output {
        run(self.command("pagemill", args)).await
    }

    /// Runs the producer for the test's day. While it waits for the run, jobs must not be lost.
    pub(crate) async fn producer(&self, args: &[&str]) -> Output {
        let running = run(self.command("pagemill-producer", &[&["--date", DAY], args].concat()));
        if !args.contains(&"--wait") {
            return running.await;
        }
        tokio::select! {
            output = running => output,
            never = LostJobs::watch(self).until_lost() => match never {},
        }
    }

    pub(crate) fn consumer(&self) -> Consumer {
        self.consumer_with(&[])
    }

    /// A consumer with further environment variables.
    pub(crate) fn consumer_with(&self, environment: &[(&str, &str)]) -> Consumer {
        let nth = self.consumers.fetch_add(1, Ordering::Relaxed);
        let log = self.dir.path().join(format!("consumer-{nth}.log"));
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

    /// Waits until the newest run is no longer running. Fails early if jobs are lost or nothing moves, and names
    /// what is missing.
    pub(crate) async fn ended(&self) -> Value {
        let db = self.db().await;
        let mut lost_jobs = LostJobs::watch(self);
        let begun = Instant::now();
        let (mut progress, mut moved) = (String::new(), begun);
        while db
            .query_one("select not exists (select from pagemill.partitions) or exists (select from pagemill.partitions where state in ('open', 'proved') and parent is null)", &[])
            .await
            .unwrap()
            .get(0)
        {
            let now = progress_of(&db).await;
            if now != progress {
                (progress, moved) = (now, Instant::now());
            }
            if moved.elapsed() > STALL || begun.elapsed() > PATIENCE {
                panic!("the run does not end: {} {}", missing_pages(&db).await, self.status().await);
            }
            lost_jobs.look(&db).await;
            sleep(Duration::from_millis(50)).await;
        }
        self.status().await
    }

    /// Waits until so many pages are done. Fails early if jobs are lost.
    pub(crate) async fn pages_done(&self, pages: i64) {
        let db = self.db().await;
        let mut lost_jobs = LostJobs::watch(self);
        let begun = Instant::now();
        while count(&db, "select coalesce(sum(done), 0)::bigint from pagemill.partitions").await < pages {
            assert!(begun.elapsed() < PATIENCE, "{pages} pages are not done: {}", self.status().await);
            lost_jobs.look(&db).await;
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Dead letters as listed.
    pub(crate) async fn dead(&self) -> Vec<Value> {
        let ran = self.pagemill(&["dead", "list", "--json"]).await.ok();
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The run is sealed, the table holds exactly the rows of the seed, and a recount agrees.
    pub(crate) async fn assert_sealed_truth(&self) {
        let status = self.ended().await;
        assert_eq!(status["state"], "complete", "{status} {:?}", self.dead().await);
        self.assert_truth().await;
        self.pagemill(&["verify", status["run"].as_str().unwrap()]).await.ok();
    }

    /// As above, and there is no dead letter.
    pub(crate) async fn assert_nothing_lost(&self) {
        self.assert_sealed_truth().await;
        let dead = self.dead().await;
        assert!(dead.is_empty(), "{dead:?}");
    }

    pub(crate) async fn assert_truth(&self) {
        let table = format!("{}_creative", self.source);
        let sql = TRUTH_SQL.replace("{table}", &table).replace("{where}", "true");
        let digest: String = self.db().await.query_one(&sql, &[]).await.unwrap().get(0);
        assert_eq!(digest, truth_digest(&self.simulated, ACCOUNT, DAY.parse().unwrap()));
    }

    /// The broker, to look behind the program's back.
    pub(crate) async fn broker(&self) -> (lapin::Connection, lapin::Channel) {
        self.broker.connect().await.unwrap()
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

impl Output {
    /// Asserts that the command exited with 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.exits(0)
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Asserts that the command printed all of these words, without a panic or a secret.
    #[track_caller]
    pub(crate) fn prints(self, words: &[&str]) -> Self {
        let printed = format!("{}{}", self.stdout, self.stderr);
        for word in words {
            assert!(printed.contains(word), "{word:?} is not in: {printed}");
        }
        assert!(!printed.contains("panicked") && !printed.contains(TOKEN), "{printed}");
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
        self::signal(self.pid(), signal);
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

    /// Waits until the log contains a text.
    pub(crate) async fn logs(&self, word: &str) {
        let begun = Instant::now();
        while !self.log().contains(word) {
            assert!(begun.elapsed() < PATIENCE, "{word:?} was never logged: {}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for World {
    /// Takes away what the test left on the servers.
    fn drop(&mut self) {
        let (database, source, broker) = (self.database.clone(), self.source.clone(), self.broker.clone());
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                broker.clean(&source).await;
                drop_database(&database).await;
            });
        });
        let _ = cleaning.join();
    }
}

pub(crate) fn signal(pid: u32, signal: &str) {
    let sent = std::process::Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

pub(crate) async fn run(mut command: Command) -> Output {
    output(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()).await
}

/// Waits for the end of a process whose output is piped.
pub(crate) async fn output(child: Child) -> Output {
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("a command that ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Output { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
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

async fn progress_of(db: &Client) -> String {
    let sql = "select format('%s %s %s %s %s', sum(done), sum(dead), count(*), max(progressed_at), (select max(lease_until) from pagemill.runs)) from pagemill.partitions";
    db.query_one(sql, &[]).await.unwrap().get(0)
}

/// The pages that open partitions still miss.
async fn missing_pages(db: &Client) -> String {
    let sql = "select coalesce(string_agg(format('partition %s of %s: %s of %s pages done, %s dead, %s', id, from_date, \
        done, coalesce(last_page - first_page + 1, 0), dead, coalesce((select string_agg(format('%s %s', page, state), ', ') \
        from (select * from pagemill.pages where partition = p.id and state <> 'done' order by page limit 20) waiting), \
        'no other page was started')), '; ' order by id), 'nothing') from pagemill.partitions p where state in ('open', 'proved') and parent is null";
    db.query_one(sql, &[]).await.unwrap().get(0)
}

/// A name that no other test has, not even one of a run that was killed: the time, and a random number.
fn unique_name() -> String {
    let random = RandomState::new().build_hasher().finish() as u32;
    format!("t{:08x}_{random:08x}", seconds())
}

fn seconds() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// Drops databases that runs left which were killed at least an hour ago, and cleans the broker of their worlds. What
/// is in use stays.
async fn drop_leftovers(admin: &Client) {
    let oldest = format!("pagemill_t{:08x}", seconds() - 3_600);
    let sql = "select datname::text from pg_database where datname ~ '^pagemill_t[0-9a-f]{8}_[0-9a-f]{8}$' and datname < $1";
    for row in admin.query(sql, &[&oldest]).await.unwrap() {
        let database: String = row.get(0);
        if admin.batch_execute(&format!("drop database {database}")).await.is_ok() {
            Broker::clean_leftovers(&database["pagemill_".len()..]).await;
        }
    }
}

async fn drop_database(name: &str) {
    let drop = format!("drop database if exists {name} with (force)");
    let _ = connect(&postgres_url()).await.batch_execute(&drop).await;
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
