//! What is done to a broker as a whole: an alarm, a consumer timeout, a restart. Each test starts a broker of its
//! own, so `make torture` runs them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use pagemill_simulator::{Fault, FaultKind, SimulatorConfig};
use tokio::time::sleep;

use crate::{
    lost_jobs::{failure, lose_jobs},
    world::{Broker, PATIENCE, World, count, postgres_url, run, slow},
};

/// A RabbitMQ of one test.
struct PrivateBroker {
    broker: Broker,
    _servers: Servers,
}

/// Servers that `scripts/servers` starts under a name. Dropped, they stop and their data is deleted.
struct Servers {
    name: String,
}

impl Servers {
    /// Servers of one test of this process. PostgreSQL is the one that all tests use.
    async fn start(test: &str) -> Self {
        let records = Self::records();
        fs::create_dir_all(&records).unwrap();
        for record in fs::read_dir(&records).unwrap() {
            let name = record.unwrap().file_name().into_string().unwrap();
            let (_, pid) = name.rsplit_once('-').expect("a process id");
            if !is_alive(pid) {
                drop(Self { name });
            }
        }
        let servers = Self { name: format!("{test}-{}", std::process::id()) };
        // A killed process may have had the same id.
        run(servers.script("clean").into()).await.ok();
        fs::write(records.join(&servers.name), "").unwrap();
        run(servers.script("up").into()).await.ok();
        servers
    }

    /// Files named like the servers that were started. Those of a killed process are cleaned later.
    fn records() -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("private-brokers")
    }

    fn script(&self, command: &str) -> Command {
        let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/servers"));
        script
            .arg(command)
            .env("PAGEMILL_SERVERS_NAME", &self.name)
            .env("PAGEMILL_TEST_POSTGRES_URL", postgres_url())
            .env_remove("PAGEMILL_TEST_AMQP_URL")
            .env_remove("PAGEMILL_TEST_RABBITMQCTL");
        script
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if self.script("clean").status().is_ok_and(|status| status.success()) {
            let _ = fs::remove_file(Self::records().join(&self.name));
        }
    }
}

fn is_alive(pid: &str) -> bool {
    Command::new("kill").args(["-0", pid]).stderr(Stdio::null()).status().unwrap().success()
}

impl PrivateBroker {
    async fn start(test: &str) -> Self {
        let servers = Servers::start(test).await;
        let printed = run(servers.script("env").into()).await.ok().stdout;
        let value = |key: &str| {
            let (_, value) = printed.split_once(&format!("{key}=")).expect("a variable");
            value.split_whitespace().next().unwrap().to_owned()
        };
        let broker = Broker::private(value("PAGEMILL_TEST_AMQP_URL"), value("PAGEMILL_TEST_RABBITMQCTL"));
        Self { broker, _servers: servers }
    }

    async fn rabbitmqctl(&self, args: &[&str]) -> String {
        self.broker.rabbitmqctl(args).await
    }

    /// A world whose programs use this broker.
    async fn world(&self, simulated: SimulatorConfig, settings: &str) -> World {
        World::on_broker(self.broker.clone(), simulated, settings).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a broker of its own: make torture"]
async fn during_an_alarm_acks_flow_a_stop_ends_in_time_and_nothing_is_lost() {
    let broker = PrivateBroker::start("alarm").await;
    let faults = vec!["error_500=0.04".parse().unwrap()];
    let world = broker.world(SimulatorConfig { faults, ..slow(40_000) }, "attempts = 9").await;
    world.producer(&[]).await.ok();
    let mut consumer = world.consumer();
    world.pages_done(20).await;
    broker.rabbitmqctl(&["set_vm_memory_high_watermark", "0.00001"]).await;
    let begun = Instant::now();
    // A retry was published: RabbitMQ reads no more from its connection.
    while !broker.rabbitmqctl(&["list_connections", "state"]).await.contains("blocked") {
        assert!(begun.elapsed() < PATIENCE, "{}", consumer.log());
        sleep(Duration::from_millis(100)).await;
    }
    // More than the consumer has prefetched: without acks no more would come.
    let done = count(&world.db().await, "select sum(done) from pagemill.partitions").await;
    world.pages_done(done + 60).await;
    let stopped = Instant::now();
    consumer.signal("-TERM");
    assert!(consumer.end().await.success(), "{}", consumer.log());
    assert!(stopped.elapsed() < Duration::from_secs(20), "{:?} {}", stopped.elapsed(), consumer.log());
    let _second = world.consumer();
    broker.rabbitmqctl(&["set_vm_memory_high_watermark", "absolute", "768MB"]).await;
    world.assert_nothing_lost().await;
}

/// RabbitMQ closes the channel of a consumer that holds a job for too long. The connection stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a broker of its own: make torture"]
async fn a_consumer_that_timed_out_consumes_again() {
    let broker = PrivateBroker::start("timeout").await;
    for (key, milliseconds) in [("consumer_timeout", 3_000), ("channel_tick_interval", 1_000)] {
        let set = format!("application:set_env(rabbit, {key}, {milliseconds}).");
        broker.rabbitmqctl(&["eval", &set]).await;
    }
    let world = broker.world(slow(20_000), "attempts = 9").await;
    world.configure("attempts = 9", "limits.timeout = \"8s\"");
    world.producer(&[]).await.ok();
    let consumer = world.consumer();
    world.pages_done(20).await;
    world.simulator.set_fault(Fault::share(FaultKind::Hang, 1.0));
    consumer.logs("consuming was interrupted: starting again").await;
    world.simulator.clear_fault(FaultKind::Hang, None);
    world.assert_nothing_lost().await;
    assert!(consumer.log().contains("PRECONDITION"), "{}", consumer.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a broker of its own: make torture"]
async fn a_broker_that_restarts_is_waited_for() {
    let broker = PrivateBroker::start("restart").await;
    let world = broker.world(slow(20_000), "").await;
    world.producer(&[]).await.ok();
    let consumer = world.consumer();
    world.pages_done(20).await;
    broker.rabbitmqctl(&["stop_app"]).await;
    consumer.logs("lost the connection to RabbitMQ").await;
    broker.rabbitmqctl(&["start_app"]).await;
    world.assert_nothing_lost().await;
}

/// A wait looks at the queues of the world's own broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a broker of its own: make torture"]
async fn lost_jobs_of_a_private_broker_are_noticed() {
    let broker = PrivateBroker::start("lost-jobs").await;
    let world = broker.world(slow(2_000), "").await;
    world.producer(&[]).await.ok();
    lose_jobs(&world).await;
    let failure = failure(world.ended()).await;
    assert!(failure.contains("jobs are lost"), "{failure}");
}
