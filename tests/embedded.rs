//! The embedded default: everything in one process, kept in a directory.

use std::{path::Path, process::Stdio, time::Duration};

use pagemill_simulator::SimulatorConfig;
use serde_json::json;
use tempfile::TempDir;
use tokio::{process::Command, time::Instant};

use crate::world::{DAY, Output, PATIENCE, World, binary, run};

fn pagemill(dir: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(binary("pagemill"));
    command
        .args(args)
        .current_dir(dir.path())
        .env_remove("PAGEMILL_CONFIG")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn query(dir: &TempDir, sql: &str) -> Output {
    run(pagemill(dir, &["query", "--json", sql])).await
}

/// Bytes of all files below a directory. Files come and go meanwhile.
fn size(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_run_goes_on_where_it_was() {
    let dir = TempDir::new().unwrap();
    let mut first = pagemill(&dir, &["run", "--json"]);
    let mut child =
        first.env("PAGEMILL_LOG", "info").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Killed at some instant in the midst of it: its first page came, and many others.
    let begun = Instant::now();
    let mut stderr = tokio::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("expanded") {
        line.clear();
        let read = tokio::io::AsyncBufReadExt::read_line(&mut stderr, &mut line);
        assert!(tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap() > 0, "it ended early");
    }
    let busy = run(pagemill(&dir, &["query", "select 1"])).await;
    busy.exits(4).prints(&["in use by process", &child.id().unwrap().to_string()]);
    // Rows of some hundred pages, and the log of their transactions.
    let full = size(dir.path()) + 24_000_000;
    while size(dir.path()) < full {
        assert!(begun.elapsed() < PATIENCE, "its data does not grow");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    child.kill().await.unwrap();

    let done =
        query(&dir, "select count(*)::text as n from pagemill.pages where state = 'done'").await.ok().json();
    let done: u64 = done["n"].as_str().unwrap().parse().unwrap();
    assert!((2..1_000).contains(&done), "{done} pages were done before the kill");

    let second = run(pagemill(&dir, &["run", "--json"])).await.ok().json();
    assert_eq!(
        (&second["sealed"], &second["pages"], &second["rows"], &second["run"]),
        (&json!(1), &json!(1000), &json!(100_000), &json!("1"))
    );
    let rows = query(&dir, "select count(*)::text as n from xiaohongshu_creative_sealed").await.ok().json();
    assert_eq!(rows["n"], "100000");
    run(pagemill(&dir, &["verify", "1"])).await.ok();

    // Everything is sealed: it prints that, the place of the data, and a query.
    let third = run(pagemill(&dir, &["run"])).await.ok().prints(&["all is there"]);
    assert!(
        third.stdout.contains("pagemill query") && third.stdout.contains("pagemill-data"),
        "{}",
        third.stdout
    );
}

/// A config in the directory counts as for every other command. Its server does not: so the next command
/// prints where the data is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_at_hand_says_what_is_pulled() {
    let world = World::unmigrated(SimulatorConfig { rows: 300, ..SimulatorConfig::default() }, "").await;
    let here = |args: &[&str]| {
        let mut command = world.command("pagemill", args);
        command.env_remove("PAGEMILL_CONFIG");
        run(command)
    };
    let ran = here(&["run", "--date", DAY]).await.ok().prints(&["300 rows"]);
    let hint =
        format!("pagemill query --data-dir pagemill-data \"select count(*), sum(fee) from {}", world.source);
    assert!(ran.stdout.contains(&hint), "{}", ran.stdout);
    let sql = format!("select count(*)::text as n from {}_creative", world.source);
    let rows = here(&["query", "--json", "--data-dir", "pagemill-data", &sql]).await.ok().json();
    assert_eq!(rows["n"], "300");
}

/// `--config` names the sources, `--postgres` the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_into_a_server_needs_no_queue() {
    let world = World::unmigrated(SimulatorConfig { rows: 5_000, ..SimulatorConfig::default() }, "").await;
    let url = world.postgres_url();
    let ran = world.pagemill(&["run", "--date", DAY, "--postgres", &url, "--json"]).await.ok();
    assert_eq!((&ran.json()["sealed"], &ran.json()["rows"]), (&json!(1), &json!(5_000)));
    world.assert_sealed_truth().await;
    let again =
        world.pagemill(&["run", "--date", DAY, "--postgres", &url]).await.ok().prints(&["all is there"]);
    assert!(again.stdout.contains("pagemill query"), "{}", again.stdout);
}

/// Consumers have another queue: both would pull the same pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_into_a_server_leaves_consumers_alone() {
    let world = World::of(1_000).await;
    world.producer(&[]).await.ok();
    let consumer = world.consumer();
    world.assert_sealed_truth().await;
    let url = world.postgres_url();
    let ran = world.pagemill(&["run", "--date", DAY, "--postgres", &url]).await.exits(4);
    ran.prints(&["consumers are at work", "pagemill-producer"]);
    drop(consumer);
    // Killed, its heartbeat is waited for.
    world.pagemill(&["run", "--date", DAY, "--postgres", &url]).await.ok().prints(&["all is there"]);
    assert_eq!(world.simulator.stats().seen, 10);
}
