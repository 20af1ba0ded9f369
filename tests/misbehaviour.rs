//! What the API does to those who read it page by page: rows that come and go meanwhile, an order with
//! ties, totals that move, pages that are short or come again, errors in responses with status 200. Each ends with
//! the exact truth where the data settles, and honestly incomplete where it does not.

use pagemill_simulator::{SimulatorConfig, TRUTH_SQL, core_truth, core_truth_sql, truth};
use serde_json::Value;

use crate::world::{ACCOUNT, DAY, World, count};

/// Twenty pages.
const ROWS: u64 = 2_000;

/// An API with these faults, and a consumer's world to read it; `more` are lines of the source.
async fn world(faults: &[&str], more: &str) -> World {
    let faults = faults.iter().map(|text| text.parse().unwrap()).collect();
    let world = World::with(SimulatorConfig { rows: ROWS, faults, ..SimulatorConfig::default() }, "").await;
    world.configure("", more);
    world
}

/// The run ends sealed with the exact truth, after the faults struck.
async fn assert_whole(world: &World) {
    let _consumers = [world.consumer(), world.consumer()];
    world.producer(&[]).await.ok();
    world.assert_nothing_lost().await;
    assert!(world.simulator.stats().faults.values().sum::<u64>() > 0, "no fault struck");
}

/// The run ends incomplete, and gives this reason; no row is stored that the API never had, and
/// the view of what is sealed is empty.
async fn assert_incomplete(world: &World, words: &[&str]) {
    let _consumers = [world.consumer(), world.consumer()];
    world.producer(&[]).await.ok();
    let status = world.ended().await;
    assert_eq!(status["state"], "incomplete", "{status}");
    let db = world.db().await;
    let reason: String = db.query_one("select reason from pagemill.partitions", &[]).await.unwrap().get(0);
    assert!(words.iter().any(|word| reason.contains(word)), "{reason}");
    let ids: std::collections::HashSet<i64> =
        truth(&world.simulated, ACCOUNT, DAY.parse().unwrap()).map(|row| row.creativity_id as i64).collect();
    let sql = format!("select creativity_id from {}_creative", world.source);
    let stored = db.query(&sql, &[]).await.unwrap();
    assert!(stored.iter().all(|row| ids.contains(&row.get(0))));
    assert_eq!(count(&db, &format!("select count(*) from {}_creative_sealed", world.source)).await, 0);
    world.pagemill(&["verify", status["run"].as_str().unwrap()]).await.exits(3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_come_in_front_are_found() {
    assert_whole(&world(&["insert=0.07@3"], "").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_rows_than_a_page_come_in_front() {
    assert_whole(&world(&["insert=0.3@5"], "").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_go_leave_no_hole() {
    assert_whole(&world(&["remove=0.1@8"], "missing_rows = \"delete\"").await).await;
}

/// As many go as come, so that the total does not change: the sums do, and keys come twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_come_and_go_at_once_are_found() {
    assert_whole(&world(&["insert=0.05@6", "remove=0.05@6"], "missing_rows = \"delete\"").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_changes_now_and_then_is_read_again() {
    assert_whole(&world(&["ties=0.05"], "").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_never_settles_is_incomplete() {
    assert_incomplete(&world(&["ties=1"], "").await, &["twice", "key", "distinct"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_total_that_moves_is_requested_again() {
    assert_whole(&world(&["moving_total=0.5@5"], "").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_total_that_moves_for_ever_is_incomplete() {
    assert_incomplete(&world(&["moving_total=1"], "").await, &["total"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_pages_are_fetched_again() {
    assert_whole(&world(&["short_page=0.05"], "").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_stays_short_is_incomplete() {
    assert_incomplete(&world(&["short_page=1@7"], "").await, &["2000"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_pages_are_fetched_again() {
    assert_whole(&world(&["repeated_page=0.5@9"], "").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_always_repeats_another_is_incomplete() {
    assert_incomplete(&world(&["repeated_page=1@7"], "").await, &["twice", "key", "distinct"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_in_responses_with_status_200_are_retried() {
    assert_whole(&world(&["error_in_200=0.2"], "").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_responses_are_read() {
    assert_whole(&world(&["gzip=1"], "").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_columns_are_reported_and_nothing_is_stored() {
    let world = world(&["unknown_columns=1"], "").await;
    let _consumer = world.consumer();
    world.producer(&["--wait"]).await.exits(3);
    let dead = world.dead().await;
    assert!(
        !dead.is_empty() && dead.iter().all(|d| d["error"].as_str().unwrap().contains("columns")),
        "{dead:?}"
    );
    assert_eq!(
        count(&world.db().await, "select count(*) from pagemill.partitions where state = 'sealed'").await,
        0
    );
}

/// Columns are named, so the zeros don't come; once they are not, the seal names the columns that fell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_zeros_are_avoided_or_noticed() {
    let faults = vec!["silent_zeros=1".parse().unwrap()];
    let simulated = SimulatorConfig { rows: ROWS, faults, ..SimulatorConfig::default() };
    let world = World::speaking("xiaohongshu", &["campaign"], simulated).await;
    let _consumer = world.consumer();
    world.producer(&["--wait"]).await.ok();
    let db = world.db().await;
    let visits =
        format!("select sum(goods_visit)::bigint from {}_campaign where time = '{DAY}'", world.source);
    assert!(count(&db, &visits).await > 0);
    assert_eq!(world.simulator.stats().faults.len(), 0, "columns are named");

    drop(_consumer);
    world.configure("", "stream.campaign.body.columns = []");
    let _consumer = world.consumer();
    let next = "2026-01-16";
    let producer = world.command("pagemill-producer", &["--date", next, "--wait"]);
    crate::world::run(producer).await.ok();
    let status = world.status().await;
    let verified = world.pagemill(&["verify", status["run"].as_str().unwrap(), "--json"]).await.ok();
    let verified: Value = serde_json::from_str(verified.stdout.lines().next().unwrap()).unwrap();
    let warnings = verified.to_string();
    assert!(warnings.contains("goods_visit") && warnings.contains("all zero or NULL"), "{warnings}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_too_deep_to_be_shown_are_incomplete() {
    let world = world(&["deep_page=11"], "").await;
    let _consumer = world.consumer();
    world.producer(&["--wait"]).await.exits(3);
    let status = world.ended().await;
    assert_eq!((&status["state"], world.dead().await.len()), (&"incomplete".into(), 10), "{status}");
}

/// Where it is known how deep pages go, a day that is deeper is pulled by placement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_is_too_deep_is_pulled_in_parts() {
    let world = world(&["deep_page=11"], "stream.creative.pager.max_result_window = 1000").await;
    let _consumer = world.consumer();
    world.producer(&[]).await.ok();
    world.assert_sealed_truth().await;
    assert_eq!(world.simulator.stats().faults.get("deep_page"), None);
}

/// Meta's pages are requested by cursors. One that leads back is noticed; the run ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_that_leads_back_is_incomplete() {
    let faults = vec!["loop_cursor=1@3".parse().unwrap()];
    let simulated = SimulatorConfig { rows: ROWS, faults, ..SimulatorConfig::default() };
    let world = World::speaking("meta", &["ad"], simulated).await;
    world.configure("", "defaults.pager.size = 100");
    let _consumer = world.consumer();
    world.producer(&[]).await.ok();
    let status = world.ended().await;
    assert_eq!(status["state"], "incomplete", "{status}");
    let seen = world.simulator.stats().seen;
    assert!(seen < 40, "it went round and round: {seen} requests");
    let db = world.db().await;
    let reason: String = db.query_one("select reason from pagemill.partitions", &[]).await.unwrap().get(0);
    assert!(reason.contains("page 3") || reason.contains("came before"), "{reason}");
}

/// The truth is the same however often the run is started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_run_finds_what_came_after_the_first() {
    let world = world(&[], "").await;
    let _consumer = world.consumer();
    world.producer(&["--wait"]).await.ok();
    world.assert_sealed_truth().await;
    world.simulator.set_fault("insert=0.05".parse().unwrap());
    // The first response of the second run lets the rows in.
    world.producer(&["--again", "--wait"]).await.ok();
    let changed = SimulatorConfig { faults: vec!["insert=0.05".parse().unwrap()], ..world.simulated.clone() };
    let table = format!("{}_creative", world.source);
    let sql = TRUTH_SQL.replace("{table}", &table).replace("{where}", "true");
    let digest: String = world.db().await.query_one(&sql, &[]).await.unwrap().get(0);
    assert_eq!(digest, pagemill_simulator::truth_digest(&changed, ACCOUNT, DAY.parse().unwrap()));
    let core = core_truth_sql(&table, ["creativity_id", "fee * 100", "impression", "click"]);
    let digest: String = world.db().await.query_one(&core, &[]).await.unwrap().get(0);
    let level = pagemill_simulator::Level::Creative;
    assert_eq!(digest, core_truth(&changed, level, ACCOUNT, DAY.parse().unwrap()));
}
