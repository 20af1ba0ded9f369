//! Planning and publishing.

use std::time::Duration;

use pagemill_simulator::{Fault, FaultKind, Latency, SimulatorConfig};
use serde_json::json;

use crate::world::{DAY, World, count, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_consumers_seal_a_run_and_hold_the_seeds_truth() {
    let world = World::of(30_050).await;
    let _consumers = [world.consumer(), world.consumer(), world.consumer()];
    let ran = world.producer(&["--wait", "--json"]).await.ok();
    let mut line = ran.json();
    assert!(line["seconds"].take().as_f64().unwrap() > 0.0);
    assert_eq!(
        line,
        json!({
            "run": "1", "partitions": 1, "sealed": 1, "incomplete": 0, "pages": 301, "rows": 30050, "dead": 0,
            "requests": 301, "throttled": 0, "seconds": null, "warnings": 0, "state": "complete"
        })
    );
    world.assert_sealed_truth().await;
    assert_eq!(world.simulator.stats().seen, 301, "no page is requested twice");
    // Again: all is there.
    let again = world.producer(&["--wait", "--json"]).await.ok().prints(&["sealed at", "nothing is due"]);
    assert_eq!(again.json()["run"], "1");
    assert_eq!(world.simulator.stats().seen, 301);
    world.assert_no_secret_in_logs();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_producers_at_once_double_nothing() {
    let latency = Latency { from: Duration::from_millis(200), to: Duration::from_millis(300) };
    let world = World::with(SimulatorConfig { rows: 5_000, latency, ..SimulatorConfig::default() }, "").await;
    let (first, second) = tokio::join!(world.producer(&[]), world.producer(&[]));
    let (first, second) = (first.ok().stdout, second.ok().stdout);
    assert!(first.contains("left to it") != second.contains("left to it"), "{first}{second}");
    let third = world.producer(&[]).await.ok();
    third.prints(&["continued", "published before"]);
    let _consumer = world.consumer();
    world.assert_sealed_truth().await;
    assert_eq!(world.simulator.stats().seen, 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_pages_close_as_a_subset() {
    let world = World::of(2_000).await;
    let _consumer = world.consumer();
    let ran = world.producer(&["--pages", "3-7", "--wait", "--json"]).await.ok();
    let line = ran.json();
    assert_eq!((&line["incomplete"], &line["pages"], &line["rows"]), (&json!(1), &json!(5), &json!(500)));
    let status = world.pagemill(&["status", "1"]).await.ok();
    assert!(status.stdout.contains("subset"), "{}", status.stdout);
    // The whole day is still due.
    world.producer(&["--wait"]).await.ok();
    world.assert_sealed_truth().await;
    let verified = world.pagemill(&["verify", "1"]).await;
    assert!(verified.stdout.contains("superseded by run 2"), "{}", verified.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_pages_are_another_subset_and_a_dead_one_is_no_success() {
    let faults = vec![Fault::fail_page(6)];
    let world =
        World::with(SimulatorConfig { rows: 2_000, faults, ..SimulatorConfig::default() }, "attempts = 1")
            .await;
    world.producer(&["--pages", "1-3"]).await.ok();
    let _consumer = world.consumer();
    let ran = world.producer(&["--pages", "5-7", "--wait", "--json"]).await.exits(3);
    let line = ran.json();
    assert_eq!((&line["pages"], &line["dead"], &line["rows"]), (&json!(2), &json!(1), &json!(200)), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_day_seals_at_once() {
    let world = World::of(0).await;
    let ran = world.producer(&["--wait", "--json"]).await.ok();
    assert_eq!((&ran.json()["sealed"], &ran.json()["rows"]), (&json!(1), &json!(0)));
    world.assert_sealed_truth().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_waits_prints_that_no_consumer_is_attached() {
    let world = World::of(1_000).await;
    world
        .producer(&["--wait", "--timeout", "7s"])
        .await
        .exits(4)
        .prints(&["no consumer is attached", "not done after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_page_that_fails_takes_the_ordinary_way() {
    let faults = vec![Fault::fail_page(1)];
    let world = World::with(SimulatorConfig { rows: 1_000, faults, ..SimulatorConfig::default() }, "").await;
    world.producer(&[]).await.ok().prints(&["its first page failed"]);
    world.simulator.clear_fault(FaultKind::FailPage, None);
    let _consumer = world.consumer();
    world.assert_sealed_truth().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_go_newest_first_and_older_ones_by_the_low_lane() {
    let world = World::of(300).await;
    world.producer(&["--lookback", "2"]).await.ok();
    let rows = world
        .db()
        .await
        .query("select to_date::text, lane from pagemill.partitions order by id", &[])
        .await
        .unwrap();
    let lanes: Vec<(String, String)> = rows.iter().map(|r| (r.get(0), r.get(1))).collect();
    let expected = [(DAY, "pages"), ("2026-01-14", "low"), ("2026-01-13", "low")];
    assert_eq!(lanes, expected.map(|(day, lane)| (day.to_owned(), lane.to_owned())));
    let _consumer = world.consumer();
    let status = world.ended().await;
    assert_eq!((&status["sealed"], &status["rows"]), (&json!(3), &json!(900)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_pulled_again_keeps_its_rows_and_writes_none_anew() {
    let world = World::of(1_000).await;
    let _consumer = world.consumer();
    world.producer(&["--wait"]).await.ok();
    let db = world.db().await;
    let table = format!("{}_creative", world.source);
    world.producer(&["--wait", "--again"]).await.ok();
    world.assert_sealed_truth().await;
    assert_eq!(
        count(&db, &format!("select count(*) from {table} where _run <> 1")).await,
        0,
        "unchanged rows stay"
    );
    assert_eq!(world.simulator.stats().seen, 20);
    // Its pages are known again; what somebody did to a row is mended all the same.
    db.batch_execute(&format!(
        "update {table} set fee = fee + 1 where creativity_id = (select max(creativity_id) from {table})"
    ))
    .await
    .unwrap();
    world.producer(&["--wait", "--again"]).await.ok();
    world.assert_sealed_truth().await;
    assert_eq!(count(&db, "select count(*) from pagemill.responses").await, 30);
    assert_eq!(world.simulator.stats().seen, 30);
}

/// The responses of an unchanged day are recognized, kept, and can be reloaded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_did_not_change_is_known_again() {
    let world = World::of(1_500).await;
    let _consumers = [world.consumer(), world.consumer()];
    world.producer(&["--wait"]).await.ok();
    let db = world.db().await;
    // The consumer counts the rows after the seal.
    let begun = std::time::Instant::now();
    while count(&db, "select count(*) from pagemill.partitions where digest is null").await > 0 {
        assert!(begun.elapsed() < crate::world::PATIENCE, "the rows are not counted");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    world.producer(&["--wait", "--again"]).await.ok();
    world.assert_sealed_truth().await;
    let compared = "select count(*) from pagemill.partitions where baseline_attempt = (select min(id) from pagemill.partitions)";
    assert_eq!(count(&db, compared).await, 1);
    let copied = "select count(*) from pagemill.responses a join pagemill.responses b using (page, body) where a.partition < b.partition";
    assert_eq!(count(&db, copied).await, 14, "all but the first page's, whose request has another id");
    let table = format!("{}_creative", world.source);
    db.batch_execute(&format!("update {table} set fee = 0")).await.unwrap();
    world.pagemill(&["reload", "--all"]).await.ok();
    world.assert_sealed_truth().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_that_gains_a_column_is_migrated() {
    let world = World::of(500).await;
    let _consumer = world.consumer();
    world.producer(&["--wait"]).await.ok();
    // A definition of the user's own: the shipped one and a column.
    let shipped = include_str!("../sources/xiaohongshu.toml");
    let own = shipped.replacen("basic = [", "basic = [\n  { name = \"new_metric\", type = \"numeric\" },", 1);
    std::fs::write(world.dir.path().join("own.toml"), own).unwrap();
    let config = std::fs::read_to_string(world.config()).unwrap();
    std::fs::write(world.config(), config.replace("use = \"xiaohongshu\"", "use = \"own.toml\"")).unwrap();
    let refused = run(world.command("pagemill-consumer", &["--until-idle"])).await;
    refused.exits(2).prints(&["behind its definition", "pagemill migrate"]);
    world.producer(&[]).await.exits(2).prints(&["pagemill migrate"]);
    let migrated = world.pagemill(&["migrate"]).await.ok();
    assert!(migrated.stdout.contains("added column \"new_metric\""), "{}", migrated.stdout);
    run(world.command("pagemill-consumer", &["--until-idle"])).await.ok();
}
