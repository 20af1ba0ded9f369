//! The way holds when a process dies between any two steps. Each test dies at one named crash point.

use std::os::unix::process::ExitStatusExt;

use pagemill_simulator::{Fault, FaultKind, SimulatorConfig};

use crate::world::{World, run};

/// SIGABRT: the crash point was reached.
const ABORTED: i32 = 6;

async fn producer_dies_at(point: &str) {
    let world = World::of(3_000).await;
    let mut command = world.command("pagemill-producer", &["--date", crate::world::DAY]);
    command.env("PAGEMILL_CRASH_AT", point);
    let ran = run(command).await;
    assert_eq!(ran.status.signal(), Some(ABORTED), "{point} was not reached: {}", ran.stderr);
    let _consumer = world.consumer();
    // Its lease has to run out first: the next tick of cron finds it, or finds the work done.
    world.db().await.batch_execute("update pagemill.runs set lease_until = now()").await.unwrap();
    world.producer(&["--wait"]).await.ok();
    world.assert_nothing_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producer_before_expansion() {
    producer_dies_at("before-expansion").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producer_after_expansion() {
    producer_dies_at("after-expansion").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producer_between_publish_and_confirm() {
    producer_dies_at("publish-before-confirm").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producer_before_the_first_commit() {
    producer_dies_at("before-commit").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producer_after_the_first_commit() {
    producer_dies_at("after-commit").await;
}

async fn consumer_dies_at(point: &str) {
    dies_while_consuming(&World::of(6_000).await, point).await;
}

async fn dies_while_consuming(world: &World, point: &str) {
    world.producer(&[]).await.ok();
    let mut victim = world.consumer_with(&[("PAGEMILL_CRASH_AT", point)]);
    let status = victim.end().await;
    assert_eq!(status.signal(), Some(ABORTED), "{point} was not reached: {}", victim.log());
    let _consumer = world.consumer();
    world.assert_nothing_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_before_the_commit() {
    consumer_dies_at("before-commit:2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_after_the_commit() {
    consumer_dies_at("after-commit:2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_before_the_ack() {
    consumer_dies_at("before-ack:2").await;
}

/// All pages are done then, and nothing but the redelivered last ones can bring the proof.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_inside_the_proof() {
    consumer_dies_at("inside-proof").await;
}

/// All deliveries are acked then, and nothing but the sweep of another consumer can bring the seal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_before_the_seal() {
    consumer_dies_at("before-apply").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_inside_the_seal() {
    consumer_dies_at("inside-apply").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_after_the_seal() {
    consumer_dies_at("after-apply").await;
}

/// Rows come in front while pages are read, so the proof fails and pages are fetched again.
async fn repairing_consumer_dies_at(point: &str) {
    let faults = vec!["insert=0.07@3".parse().unwrap()];
    let simulated = SimulatorConfig { rows: 2_000, faults, ..SimulatorConfig::default() };
    let world = World::with(simulated, "stalled_after = \"2s\"").await;
    dies_while_consuming(&world, point).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_before_a_repair() {
    repairing_consumer_dies_at("before-repair").await;
}

/// The ledger has raised the generations, and nobody has published the jobs: the rescue does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_after_a_repair() {
    repairing_consumer_dies_at("after-repair").await;
}

async fn requeue_dies_at(point: &str) {
    let faults = vec![Fault::fail_page(3), Fault::fail_page(8)];
    let world =
        World::with(SimulatorConfig { rows: 1_000, faults, ..SimulatorConfig::default() }, "attempts = 2")
            .await;
    let _consumer = world.consumer();
    world.producer(&["--wait"]).await.exits(3);
    assert_eq!(world.dead().await.len(), 2);
    world.simulator.clear_fault(FaultKind::FailPage, None);
    let mut command = world.command("pagemill", &["dead", "requeue", "--all"]);
    command.env("PAGEMILL_CRASH_AT", point);
    let ran = run(command).await;
    assert_eq!(ran.status.signal(), Some(ABORTED), "{point} was not reached: {}", ran.stderr);
    // What it had decided is finished by the next one.
    world.pagemill(&["dead", "requeue", "--all"]).await;
    world.assert_nothing_lost().await;
    world.pagemill(&["dead", "requeue", "--all"]).await.ok();
    assert_eq!(crate::dead_letters::in_the_queue(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requeue_before_its_publish() {
    requeue_dies_at("requeue-before-publish").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requeue_before_its_ack() {
    requeue_dies_at("requeue-before-ack").await;
}

/// Only the poisoned page dies; pages that were prefetched beside it are stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_kills_its_process_is_dead_alone() {
    let world =
        World::with(SimulatorConfig { rows: 4_000, ..SimulatorConfig::default() }, "attempts = 3").await;
    world.producer(&[]).await.ok();
    let mut crashes = 0;
    loop {
        let mut consumer = world.consumer_with(&[("PAGEMILL_CRASH_ON_PAGE", "17")]);
        let ended = tokio::select! {
            _ = consumer.end() => false,
            _ = world.ended() => true,
        };
        if ended {
            break;
        }
        crashes += 1;
        assert!(crashes < 30, "it is never found poisoned");
    }
    let dead = world.dead().await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!((dead[0]["page"].as_i64(), dead[0]["attempts"].as_i64()), (Some(17), Some(3)));
    assert!(dead[0]["error"].as_str().unwrap().contains("killed its process 3 times"), "{dead:?}");
    // One first start, two suspicions, three while alone.
    assert_eq!(crashes, 6);
}
