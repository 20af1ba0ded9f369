//! Consumers: side by side, stopped, killed, and held to one quota.

use std::time::{Duration, Instant};

use pagemill_simulator::{Fault, FaultKind, Latency, SimulatorConfig};

use crate::world::World;

fn slow(rows: u64) -> SimulatorConfig {
    let latency = Latency { from: Duration::from_millis(20), to: Duration::from_millis(60) };
    SimulatorConfig { rows, latency, ..SimulatorConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_ten_times_loses_nothing_and_condemns_nobody() {
    let world = World::with(slow(60_000), "").await;
    world.producer(&[]).await.ok();
    let _other = world.consumer();
    for round in 1..=10 {
        let victim = world.consumer();
        world.pages_done(round * 50).await;
        victim.kill_nine().await;
    }
    world.assert_sealed_truth().await;
    assert!(world.dead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains() {
    let world = World::with(slow(20_000), "").await;
    world.producer(&[]).await.ok();
    let mut consumer = world.consumer();
    world.pages_done(20).await;
    consumer.signal("-TERM");
    assert!(consumer.end().await.success(), "{}", consumer.log());
    let before = world.status().await["pages"].as_i64().unwrap();
    assert!((20..200).contains(&before), "{before}");
    // What it held came back without a cost: nothing is asked for twice.
    let _second = world.consumer();
    world.assert_sealed_truth().await;
    assert_eq!(world.simulator.stats().seen, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_within_a_second_of_its_grace_though_every_worker_hangs() {
    let world = World::with(slow(5_000), "").await;
    world.producer(&[]).await.ok();
    world.simulator.set_fault(Fault::share(FaultKind::Hang, 1.0));
    let mut consumer = world.consumer();
    let begun = Instant::now();
    while world.simulator.stats().faults.get("hang").copied().unwrap_or(0) < 8 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", consumer.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stopped = Instant::now();
    consumer.signal("-TERM");
    assert!(consumer.end().await.success());
    let took = stopped.elapsed();
    // The grace is 2 s; closing the connections afterwards takes its time on a busy machine.
    assert!(took >= Duration::from_millis(1_900) && took < Duration::from_secs(6), "{took:?}");
    world.simulator.clear_fault(FaultKind::Hang, None);
    let _second = world.consumer();
    world.assert_sealed_truth().await;
    assert!(world.dead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_one_quota() {
    let world = World::with(SimulatorConfig { rate: Some(100), ..slow(50_000) }, "").await;
    world.configure("", "rate = { per_second = 100 }");
    world.producer(&[]).await.ok();
    let consumers = [world.consumer(), world.consumer(), world.consumer()];
    world.assert_sealed_truth().await;
    let stats = world.simulator.stats();
    // Without a shared quota the three would send three times as many.
    assert!(stats.throttled <= 25, "{stats:?}");
    assert!(consumers.iter().all(|c| !c.log().contains(" ERROR ")), "{}", consumers[0].log());
    assert!(world.dead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_is_frozen_and_wakes_changes_nothing() {
    let world = World::with(slow(30_000), "").await;
    world.producer(&[]).await.ok();
    let frozen = world.consumer();
    world.pages_done(20).await;
    frozen.signal("-STOP");
    let other = world.consumer();
    if tokio::time::timeout(std::time::Duration::from_secs(25), world.pages_done(40)).await.is_err() {
        let db = world.db().await;
        for r in db.query("select pid, state, wait_event, left(query,80) , (now()-xact_start)::text from pg_stat_activity where datname=current_database()", &[]).await.unwrap() {
            eprintln!("{:?} {:?} {:?} {:?} {:?}", r.get::<_, i32>(0), r.get::<_, Option<String>>(1), r.get::<_, Option<String>>(2), r.get::<_, Option<String>>(3), r.get::<_, Option<String>>(4));
        }
        eprintln!(
            "{}",
            std::process::Command::new("/work/main/.dev/rabbitmqctl")
                .args(["-q", "list_queues", "name", "messages_ready", "messages_unacknowledged", "consumers"])
                .output()
                .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
                .unwrap()
        );
        panic!("OTHER: {} FROZEN: {}", other.log(), frozen.log());
    }
    // The broker gives the frozen one's jobs to the other when it closes its connections.
    let closed = close_connections_of(&world).await;
    frozen.signal("-CONT");
    world.assert_sealed_truth().await;
    assert!(closed, "no rabbitmqctl: see PAGEMILL_TEST_RABBITMQCTL");
    drop(other);
}

/// Closes all connections to the broker; false where that cannot be done here.
pub(crate) async fn close_connections_of(_: &World) -> bool {
    // The test's own connection goes as well, and with it those of tests beside this one, which live
    // through it: that is their contract.
    crate::faults::rabbitmqctl(&["close_all_connections", "test"]).await
}
