//! Consumers: side by side, stopped, killed, and held to one quota.

use std::time::{Duration, Instant};

use pagemill_simulator::{Fault, FaultKind, Limits, SimulatorConfig};

use crate::world::{World, slow};

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
    world.assert_nothing_lost().await;
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
    // What it held came back without a cost: nothing is requested twice.
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
    world.assert_nothing_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_one_quota() {
    let world = World::with(SimulatorConfig { limits: Limits::per_second(100), ..slow(50_000) }, "").await;
    world.configure("", "rate = { per_second = 100 }");
    world.producer(&[]).await.ok();
    let consumers = [world.consumer(), world.consumer(), world.consumer()];
    world.assert_nothing_lost().await;
    let stats = world.simulator.stats();
    // Without a shared quota the three would send three times as many.
    assert!(stats.throttled <= 25, "{stats:?}");
    assert!(consumers.iter().all(|c| !c.log().contains(" ERROR ")), "{}", consumers[0].log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_is_frozen_and_wakes_changes_nothing() {
    let world = World::on_own_vhost(slow(30_000)).await;
    world.producer(&[]).await.ok();
    let frozen = world.consumer();
    world.pages_done(20).await;
    frozen.signal("-STOP");
    let other = world.consumer();
    // Frozen inside a transaction it may hold up the partition, but not for long.
    world.pages_done(40).await;
    // The broker gives the frozen one's jobs to the other when it closes its connections.
    world.close_all_connections().await;
    frozen.signal("-CONT");
    world.assert_nothing_lost().await;
    drop(other);
}
