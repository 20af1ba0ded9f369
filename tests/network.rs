//! Faults of the connections to RabbitMQ, PostgreSQL and the API, made by a proxy before each of them. Whatever the
//! fault, the table equals the seed's truth in the end, with no dead letter.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use pagemill_proxy::{Direction, Fault, Proxy};
use pagemill_simulator::{FaultKind, SimulatorConfig};

use crate::world::{Consumer, DAY, PATIENCE, World, count, output, signal, slow};

/// Waits until a condition holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}: it does not happen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until so many more bytes have passed a proxy.
async fn until_passed(proxy: &Proxy, direction: Direction, bytes: u64) {
    let before = proxy.passed(direction);
    until("bytes pass", || proxy.passed(direction) >= before + bytes).await;
}

/// A consumer that notices a silent connection to the broker within seconds.
fn consumer_with_short_heartbeats(world: &World) -> Consumer {
    let url = format!("{}?heartbeat=1", world.proxies().amqp_url);
    world.consumer_with(&[("PAGEMILL_AMQP_URL", &url)])
}

/// Pages of ten rows.
const SMALL_PAGES: &str = "defaults.pager.size = 10";
/// Bytes of page jobs to the broker after which a producer is in the midst of publishing them.
const SOME_JOBS: u64 = 200_000;

/// A world of 2,000 pages, whose jobs take a while to publish.
async fn world_that_publishes_slowly() -> World {
    let world =
        World::behind_proxies(SimulatorConfig { rows: 20_000, ..SimulatorConfig::default() }, "").await;
    world.configure("", SMALL_PAGES);
    world.proxies().amqp.set(Fault::Drip { bytes: 16 << 10, every: Duration::from_millis(20) });
    world
}

/// Waits until the producer is in the midst of publishing.
async fn until_publishing(world: &World) {
    until_passed(&world.proxies().amqp, Direction::ToServer, SOME_JOBS).await;
    assert_unpublished(world).await;
}

async fn assert_unpublished(world: &World) {
    let sql = "select count(*) from pagemill.partitions where total = 20000 and published_at is null";
    assert_eq!(count(&world.db().await, sql).await, 1);
}

/// The next run publishes what a failed one did not.
async fn assert_next_run_completes(world: &World) {
    world.db().await.batch_execute("update pagemill.runs set lease_until = now()").await.unwrap();
    let _consumers = [world.consumer(), world.consumer()];
    world.producer(&["--wait"]).await.ok();
    world.assert_nothing_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_whose_connection_breaks_is_sent_again() {
    let world = world_that_publishes_slowly().await;
    let amqp = &world.proxies().amqp;
    let breaking = async {
        for fault in [Fault::Close, Fault::Reset] {
            until_publishing(&world).await;
            amqp.set_open(fault);
        }
        amqp.mend();
    };
    let (produced, ()) = tokio::join!(world.producer(&[]), breaking);
    produced.ok();
    let _consumers = [world.consumer(), world.consumer()];
    world.assert_nothing_lost().await;
}

/// The broker has the jobs, but its confirms do not arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_publish_without_confirms_ends_in_time_and_is_no_success() {
    let world = world_that_publishes_slowly().await;
    let mut command = world.command("pagemill-producer", &["--date", DAY]);
    let producer = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = producer.id().unwrap();
    let amqp = &world.proxies().amqp;
    let stopping = async {
        until_publishing(&world).await;
        amqp.set(Fault::Stall(Direction::ToClient));
        signal(pid, "-TERM");
        Instant::now()
    };
    let (produced, stopped) = tokio::join!(output(producer), stopping);
    assert_in_time(stopped.elapsed(), &produced.stderr);
    produced.exits(4).prints(&["stopped while PostgreSQL or RabbitMQ did not reply"]);
    assert_unpublished(&world).await;
    amqp.mend();
    assert_next_run_completes(&world).await;
}

/// As above, but nobody stops the producer: it gives up after half a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes most of a minute: make torture"]
async fn a_publish_without_confirms_is_no_success() {
    let world = world_that_publishes_slowly().await;
    let amqp = &world.proxies().amqp;
    let stalling = async {
        until_publishing(&world).await;
        amqp.set(Fault::Stall(Direction::ToClient));
    };
    let (produced, ()) = tokio::join!(world.producer(&[]), stalling);
    produced.exits(4).prints(&["RabbitMQ at 127.0.0.1", "does not reply"]);
    assert_unpublished(&world).await;
    amqp.mend();
    assert_next_run_completes(&world).await;
}

/// The broker returns the jobs that come after the deletion.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_deleted_while_a_producer_publishes_is_no_success() {
    let world = world_that_publishes_slowly().await;
    let unbinding = async {
        until_publishing(&world).await;
        let (_connection, channel) = world.broker().await;
        let name = format!("pagemill.{}.pages", world.source);
        let name = name.as_str();
        channel.queue_unbind(name.into(), "pagemill".into(), name.into(), Default::default()).await.unwrap();
        world.proxies().amqp.mend();
    };
    let (produced, ()) = tokio::join!(world.producer(&[]), unbinding);
    produced.exits(4).prints(&["reached no queue"]);
    assert_unpublished(&world).await;
    assert_next_run_completes(&world).await;
}

/// A connection is cut, reset, or silent in one direction or in both. New ones work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consuming_resumes_after_every_fault_of_its_connections() {
    let world = World::behind_proxies(slow(60_000), "").await;
    world.producer(&[]).await.ok();
    let consumer = consumer_with_short_heartbeats(&world);
    let amqp = &world.proxies().amqp;
    let stalls = [Direction::ToClient, Direction::ToServer].map(Fault::Stall);
    let faults = [Fault::Close, Fault::Reset, stalls[0], stalls[1], Fault::Silence];
    for (fault, pages) in faults.into_iter().zip((50..).step_by(100)) {
        world.pages_done(pages).await;
        let connections = amqp.accepted();
        amqp.set_open(fault);
        // Both, the one that publishes and the one that consumes.
        until(&format!("connected again after {fault:?}"), || amqp.accepted() >= connections + 2).await;
    }
    world.assert_nothing_lost().await;
    assert!(!consumer.log().contains(" ERROR "), "{}", consumer.log());
}

/// What a memory or disk alarm of the broker does: it reads nothing more from the connection that publishes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nothing_can_be_published_acks_flow_and_a_stop_ends_in_time() {
    let faults = vec!["error_500=0.04".parse().unwrap()];
    let world = World::behind_proxies(SimulatorConfig { faults, ..slow(40_000) }, "attempts = 9").await;
    world.producer(&[]).await.ok();
    let amqp = &world.proxies().amqp;
    let publishing = amqp.accepted();
    let mut consumer = world.consumer();
    world.pages_done(20).await;
    amqp.set_nth(publishing, Fault::Stall(Direction::ToServer));
    until("a retry is held", || amqp.held(Direction::ToServer) > 0).await;
    // More than it has prefetched: without acks no more would come.
    let done = count(&world.db().await, "select sum(done) from pagemill.partitions").await;
    world.pages_done(done + 100).await;
    assert_stops_in_time(&mut consumer).await;
    world.simulator.clear_fault(FaultKind::Error500, None);
    let _second = world.consumer();
    world.assert_nothing_lost().await;
}

async fn assert_stops_in_time(consumer: &mut Consumer) {
    let stopped = Instant::now();
    consumer.signal("-TERM");
    assert!(consumer.end().await.success(), "{}", consumer.log());
    assert_in_time(stopped.elapsed(), &consumer.log());
}

/// The grace is 2 s, what hangs is given up 8 s later, and connections close within 3 s.
fn assert_in_time(took: Duration, log: &str) {
    assert!(took < Duration::from_secs(20), "{took:?} {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_wait_for_a_postgres_behind_a_bad_connection() {
    let world = World::behind_proxies(slow(60_000), "").await;
    world.producer(&[]).await.ok();
    let _consumers = [world.consumer(), world.consumer()];
    let postgres = &world.proxies().postgres;
    let mut pages = 20;
    for fault in [Fault::Close, Fault::Reset] {
        world.pages_done(pages).await;
        postgres.set_open(fault);
        pages += 60;
    }
    for direction in [Direction::ToServer, Direction::ToClient] {
        world.pages_done(pages).await;
        postgres.set(Fault::Stall(direction));
        until("something is held", || postgres.held(direction) > 0).await;
        postgres.mend();
        pages += 60;
    }
    let every = Duration::from_millis(2);
    for fault in [Fault::Drip { bytes: 1_000, every }, Fault::Delay(20 * every)] {
        postgres.set(fault);
        world.pages_done(pages).await;
        pages += 60;
    }
    postgres.mend();
    world.assert_nothing_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_in_time_though_postgres_is_silent() {
    let world = World::behind_proxies(slow(20_000), "").await;
    world.producer(&[]).await.ok();
    let mut consumer = world.consumer();
    world.pages_done(20).await;
    let postgres = &world.proxies().postgres;
    postgres.set(Fault::Silence);
    until("a query is held", || postgres.held(Direction::ToServer) > 0).await;
    assert_stops_in_time(&mut consumer).await;
    postgres.mend();
    let _second = world.consumer();
    world.assert_nothing_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_whose_response_breaks_off_are_requested_again() {
    let world =
        World::behind_proxies(SimulatorConfig { rows: 20_000, ..SimulatorConfig::default() }, "").await;
    world.configure("attempts = 9", "limits.timeout = \"3s\"");
    world.producer(&[]).await.ok();
    let consumer = world.consumer();
    let api = &world.proxies().api;
    // So that a response is under way whenever a fault comes.
    api.set(Fault::Drip { bytes: 1_000, every: Duration::from_millis(5) });
    for (fault, logged) in [
        (Fault::Reset, "connection reset by"),
        (Fault::Close, "no whole response from"),
        (Fault::Stall(Direction::ToClient), "within 3s"),
        (Fault::Silence, "within 3s"),
    ] {
        until_passed(api, Direction::ToClient, 50_000).await;
        api.set_open(fault);
        consumer.logs(logged).await;
    }
    api.mend();
    world.assert_nothing_lost().await;
}
