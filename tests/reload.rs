//! Stored responses are decoded again under a changed definition, and compared with each other.

use std::{collections::HashMap, fs, os::unix::process::ExitStatusExt};

use pagemill_simulator::{Simulator, SimulatorConfig, truth};
use serde_json::{Value, json};

use crate::world::{ACCOUNT, DAY, World, count, run};

const SHIPPED: &str = include_str!("../sources/xiaohongshu.toml");
/// SIGABRT: the crash point was reached.
const ABORTED: i32 = 6;

/// A changed definition; the change must have hit something.
fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(SHIPPED.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in the shipped definition");
        text.replace(from, to)
    })
}

/// The shipped definition without a column that it has, and without a word on percents.
fn worse() -> String {
    changed(&[("{ name = \"note_id\", type = \"text\" }, ", ""), ("percent = \"ratio\"\n", "")])
}

/// Makes the world's source one that is read by this definition.
fn define(world: &World, definition: &str) {
    let config = fs::read_to_string(world.config()).unwrap();
    fs::write(world.config(), config.replace("use = \"xiaohongshu\"", "use = \"own.toml\"")).unwrap();
    fs::write(world.dir.path().join("own.toml"), definition).unwrap();
}

/// A day of so many rows, pulled and sealed under this definition.
async fn pulled(rows: u64, definition: &str) -> World {
    let world = World::unmigrated(SimulatorConfig { rows, ..SimulatorConfig::default() }, "").await;
    define(&world, definition);
    world.pagemill(&["migrate"]).await.ok();
    pull(&world, &[]).await;
    world
}

async fn pull(world: &World, args: &[&str]) {
    let _consumer = world.consumer();
    world.producer(&[&["--wait"], args].concat()).await.ok();
}

async fn reload(world: &World, args: &[&str]) -> Value {
    world.pagemill(&[&["reload", "--json"], args].concat()).await.ok().json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_decodes_stored_responses_under_a_changed_definition() {
    let world = pulled(2_050, &worse()).await;
    let requests = world.simulator.stats().seen;
    define(&world, SHIPPED);
    let _consumer = world.consumer_with(&[]);
    let reloaded = reload(&world, &[]).await;
    let expected = |partitions, pages, rows, changed, skipped| {
        json!({
            "partitions": partitions, "pages": pages, "rows": rows, "changed_rows": changed, "became_null": 0,
            "skipped": skipped, "without_response": 0, "pruned": 0, "failed": []
        })
    };
    assert_eq!(reloaded, expected(1, 21, 2_050, 2_050, 0));
    world.assert_sealed_truth().await;
    assert_eq!(world.simulator.stats().seen, requests, "no request is sent");
    let sealed = format!("select count(note_id) from {}_creative_sealed", world.source);
    assert_eq!(count(&world.db().await, &sealed).await, 2_050);
    // What it has read it need not read again, and reading it again changes nothing.
    assert_eq!(reload(&world, &[]).await, expected(0, 0, 0, 0, 1));
    assert_eq!(reload(&world, &["--all"]).await, expected(1, 21, 2_050, 0, 0));
    assert_eq!(reload(&world, &["--all", "--date", "2026-01-16"]).await, expected(0, 0, 0, 0, 0));
    // What a pull stored under the current definition is current.
    pull(&world, &["--again"]).await;
    assert_eq!(reload(&world, &[]).await, expected(0, 0, 0, 0, 1));
    world.assert_sealed_truth().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_dies_changes_nothing_and_begins_again() {
    let world = pulled(6_000, &worse()).await;
    define(&world, SHIPPED);
    let changed = format!("select count(note_id) from {}_creative", world.source);
    for point in ["before-commit:2", "inside-proof", "inside-apply"] {
        let mut command = world.command("pagemill", &["reload"]);
        command.env("PAGEMILL_CRASH_AT", point);
        let ran = run(command).await;
        assert_eq!(ran.status.signal(), Some(ABORTED), "{point} was not reached: {}", ran.stderr);
        assert_eq!(count(&world.db().await, &changed).await, 0, "{point}");
    }
    assert_eq!(reload(&world, &[]).await["pages"], 60);
    world.assert_nothing_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slice_with_a_page_that_cannot_be_decoded_is_left_and_reported() {
    let world = pulled(500, &worse()).await;
    define(&world, SHIPPED);
    let db = world.db().await;
    db.batch_execute("update pagemill.responses set body = '\\x00' where page = 2").await.unwrap();
    let ran = world.pagemill(&["reload"]).await.exits(3);
    ran.prints(&[
        "page 2: the stored response is damaged",
        "0 partitions",
        "1 slices could not be read again",
    ]);
    let table = format!("select count(note_id) from {}_creative", world.source);
    assert_eq!(count(&db, &table).await, 0, "all of it, or nothing");
    let again = world.pagemill(&["reload", "--json"]).await.exits(3).json();
    assert_eq!((&again["partitions"], &again["failed"][0]["page"]), (&json!(0), &json!(2)));
    let sealed = format!("select count(*) from {}_creative_sealed", world.source);
    assert_eq!(count(&db, &sealed).await, 500);
    db.batch_execute("delete from pagemill.responses where page = 4").await.unwrap();
    world.pagemill(&["reload"]).await.ok().prints(&["1 pages have no stored response"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_column_needs_another_table() {
    let world = pulled(300, SHIPPED).await;
    let drop = format!("drop table {}_creative cascade", world.source);
    let rows = format!("select count(*) from {}_creative where data_caliber = 1", world.source);
    // A column more in the key, and another value in it.
    let (column, value) =
        ("\"note_id\", type = \"text\" }, \"@settings\"", "const = \"{params.data_caliber}\", key");
    define(&world, &changed(&[(column, "\"note_id\", type = \"text\", key = true }, \"@settings\"")]));
    world.pagemill(&["reload"]).await.exits(2).prints(&["rename or drop", "primary key"]);
    world.assert_truth().await;
    define(&world, &changed(&[(value, "const = 1, key")]));
    // All rows under the old keys go, all under the new ones come.
    assert_eq!(reload(&world, &[]).await["changed_rows"], 600);
    assert_eq!(count(&world.db().await, &rows).await, 300);
    world.db().await.batch_execute(&drop).await.unwrap();
    assert_eq!(reload(&world, &["--all"]).await["changed_rows"], 300);
    assert_eq!(count(&world.db().await, &rows).await, 300);
    world.assert_truth().await;
    world.pagemill(&["verify", "1"]).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_tells_how_much_a_restated_day_moved() {
    let world = pulled(300, SHIPPED).await;
    let command = ["drift", "--stream", "creative", "--date", DAY];
    world.pagemill(&command).await.ok().prints(&["not compared: run 1 alone"]);
    let restated = SimulatorConfig { rows: 310, seed: 43, port: 0, ..world.simulated.clone() };
    let simulator = Simulator::start(restated.clone()).await.unwrap();
    let config = fs::read_to_string(world.config()).unwrap();
    fs::write(world.config(), config.replace(&world.simulator.url(), &simulator.url())).unwrap();
    pull(&world, &["--again"]).await;

    let drift = world.pagemill(&[&command[..], &["--json"]].concat()).await.ok().json();
    let rows = |config: &SimulatorConfig| -> HashMap<u64, _> {
        let day = DAY.parse().unwrap();
        truth(config, ACCOUNT, day).map(|row| (row.creativity_id, (row.note_id, row.metrics))).collect()
    };
    let (before, after) = (rows(&world.simulated), rows(&restated));
    let both = before.keys().filter(|id| after.contains_key(id)).count();
    let changed = before.iter().filter(|(id, row)| after.get(id).is_some_and(|new| new != *row)).count();
    let moved = &drift["moved"];
    assert_eq!((&drift["before"]["run"], &drift["after"]["run"]), (&json!("1"), &json!("2")));
    assert_eq!((&moved["rows_before"], &moved["rows_after"]), (&json!(300), &json!(310)));
    assert_eq!((&moved["rows_gone"], &moved["rows_added"]), (&json!(300 - both), &json!(310 - both)));
    assert_eq!(moved["rows_changed"], json!(changed));
    assert!(both > 0, "some creatives are in both, or nothing can change");
    let fee = moved["metrics"].as_array().unwrap().iter().find(|m| m["name"] == "fee").unwrap();
    let cents = |side: &str| (fee[side].as_str().unwrap().parse::<f64>().unwrap() * 100.0).round() as u64;
    let sum = |rows: &HashMap<u64, ([u8; 24], pagemill_simulator::Metrics)>| {
        rows.values().map(|(_, m)| m.fee).sum()
    };
    let sums: (u64, u64) = (sum(&before), sum(&after));
    assert_eq!((cents("before"), cents("after")), sums);
    world.pagemill(&command).await.ok().prints(&[
        "run 1 against run 2: 300 rows, then 310",
        "fee",
        "percent",
    ]);

    let gone = "delete from pagemill.responses where partition = (select min(id) from pagemill.partitions)";
    world.db().await.batch_execute(gone).await.unwrap();
    world
        .pagemill(&command)
        .await
        .ok()
        .prints(&["not compared: the responses of run 1 are gone (3 of 3 pages)"]);
}
