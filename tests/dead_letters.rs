//! Dead letters: how pages come to be there, and how an operator brings them back.

use pagemill_core::{Lane, PageJob, WriteMode};
use pagemill_simulator::{Fault, FaultKind, SimulatorConfig};
use serde_json::json;

use crate::world::{ACCOUNT, World, count};

/// Letters in the dead-letter queue itself.
pub(crate) async fn in_the_queue(world: &World) -> u32 {
    let (_connection, channel) = world.broker().await;
    let name = format!("pagemill.{}.dead", world.source);
    let options = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
    channel.queue_declare(name.as_str().into(), options, Default::default()).await.unwrap().message_count()
}

async fn publish(world: &World, body: &[u8]) {
    let (_connection, channel) = world.broker().await;
    let name = format!("pagemill.{}.pages", world.source);
    channel
        .basic_publish("".into(), name.as_str().into(), Default::default(), body, Default::default())
        .await
        .unwrap()
        .await
        .unwrap();
    // The close waits until the broker has read what was written before it.
    channel.close(200, "OK".into()).await.unwrap();
}

fn failing(page: u64) -> SimulatorConfig {
    SimulatorConfig { rows: 2_000, faults: vec![Fault::fail_page(page)], ..SimulatorConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_always_fails_is_dead_after_its_attempts_and_sealed_once_requeued() {
    let world = World::with(failing(7), "attempts = 3").await;
    let _consumer = world.consumer();
    let ran = world.producer(&["--wait", "--json"]).await.exits(3);
    assert_eq!((&ran.json()["dead"], &ran.json()["incomplete"]), (&json!(1), &json!(1)));
    let requests = || world.simulator.stats().faults["fail_page"];
    assert_eq!(requests(), 3, "as often as it may be tried");

    let dead = world.dead().await;
    let letter = &dead[0];
    for (field, value) in [
        ("stream", json!("creative")),
        ("account", json!(ACCOUNT)),
        ("page", json!(7)),
        ("attempts", json!(3)),
    ] {
        assert_eq!(letter[field], value, "{letter}");
    }
    assert!(letter["error"].as_str().unwrap().contains("HTTP 500"), "{letter}");
    assert!(letter["first_failed_at"].as_str() < letter["last_failed_at"].as_str(), "{letter}");
    assert_eq!(in_the_queue(&world).await, 1);
    let id = letter["id"].to_string();
    let groups = world.pagemill(&["dead", "groups", "--json"]).await.ok();
    assert_eq!((&groups.json()["count"], &groups.json()["fingerprint"]), (&json!(1), &letter["fingerprint"]));
    let shown = world.pagemill(&["dead", "show", &id]).await.ok();
    assert!(
        shown.stdout.contains("HTTP 500") && shown.stdout.contains("\"page_size\": 100"),
        "{}",
        shown.stdout
    );

    // Requeued while it still fails: a fresh set of attempts, and dead again.
    world.pagemill(&["dead", "requeue", &id]).await.ok();
    world.ended().await;
    assert_eq!(requests(), 6);
    let again = world.dead().await;
    assert_eq!((again.len(), &again[0]["attempts"]), (1, &json!(3)));
    assert_ne!(again[0]["id"], letter["id"]);

    world.simulator.clear_fault(FaultKind::FailPage, None);
    world.pagemill(&["dead", "requeue", "--error", "HTTP 500"]).await.ok();
    world.assert_nothing_lost().await;
    assert_eq!(in_the_queue(&world).await, 0);
    let recorded = "select count(*) from pagemill.dead_letters where requeued_at is not null and published_at is not null";
    assert_eq!(count(&world.db().await, recorded).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_requeues_at_once_requeue_once() {
    let world = World::with(failing(7), "attempts = 1").await;
    world.producer(&[]).await.ok();
    let consumer = world.consumer();
    world.ended().await;
    drop(consumer);
    world.simulator.clear_fault(FaultKind::FailPage, None);
    let (first, second) = tokio::join!(
        world.pagemill(&["dead", "requeue", "--all"]),
        world.pagemill(&["dead", "requeue", "--all"])
    );
    for ran in [first, second] {
        assert!(matches!(ran.status.code(), Some(0 | 4)), "{}", ran.stderr);
    }
    let seen = world.simulator.stats().seen;
    let _consumer = world.consumer();
    world.assert_sealed_truth().await;
    assert_eq!(world.simulator.stats().seen, seen + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_letters_are_gone_and_their_pages_stay_missing() {
    let world = World::with(failing(7), "attempts = 1").await;
    let _consumer = world.consumer();
    world.producer(&["--wait"]).await.exits(3);
    world.pagemill(&["dead", "drop"]).await.exits(2).prints(&["which?"]);
    world.pagemill(&["dead", "drop", "--stream", "creative"]).await.ok();
    assert!(world.dead().await.is_empty());
    assert_eq!(in_the_queue(&world).await, 0);
    world.pagemill(&["verify", "1"]).await.exits(3);
    // Another run pulls the day anew.
    world.simulator.clear_fault(FaultKind::FailPage, None);
    world.producer(&["--wait"]).await.ok();
    world.assert_sealed_truth().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_job_is_dead_with_its_reason() {
    let world = World::of(500).await;
    world.producer(&[]).await.ok();
    let stray = PageJob {
        v: 1,
        partition: 77,
        run: 9,
        slice: pagemill_core::Slice {
            source: world.source.clone(),
            stream: "creative".into(),
            account: ACCOUNT.into(),
            from: jiff::civil::date(2026, 1, 15),
            to: jiff::civil::date(2026, 1, 15),
            part: Default::default(),
        },
        page: 1,
        page_size: 100,
        generation: 0,
        attempt: 0,
        lane: Lane::High,
        cursor: None,
        write_mode: WriteMode::Direct,
        baseline: None,
    };
    publish(&world, b"hello").await;
    // Alike but for a number: two letters all the same.
    publish(&world, &PageJob { page: 0, ..stray.clone() }.encode()).await;
    publish(&world, &PageJob { page: 0, partition: 78, ..stray.clone() }.encode()).await;
    publish(&world, b"{\"v\":1,\"lane\":\"\\u0000\"}").await;
    publish(&world, &stray.encode()).await;
    publish(&world, br#"{"v":3,"what":"a later version knows"}"#).await;
    let consumer = world.consumer();
    // It waits, unchanged, for a consumer that can read it.
    consumer.logs("message version 3 is newer").await;
    world.assert_truth_after_end().await;
    let begun = std::time::Instant::now();
    while world.dead().await.len() < 5 {
        assert!(begun.elapsed() < crate::world::PATIENCE, "{:?}", world.dead().await);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let errors: Vec<String> =
        world.dead().await.iter().map(|d| d["error"].as_str().unwrap().to_owned()).collect();
    assert_eq!(errors.iter().filter(|e| e.contains("page 0")).count(), 2, "{errors:?}");
    for word in [
        "not a page job: expected value",
        "not a page job: unknown variant",
        "page 0",
        "the ledger has no partition 77",
    ] {
        assert!(errors.iter().any(|e| e.contains(word)), "{word}: {errors:?}");
    }
}

impl World {
    async fn assert_truth_after_end(&self) {
        self.ended().await;
        self.assert_truth().await;
    }
}
