//! The ledger is pruned, and commands state that data was pruned where it is missing.

use std::os::unix::process::ExitStatusExt;

use serde_json::json;

use crate::world::{DAY, World, count, run};

/// SIGABRT: the crash point was reached.
const ABORTED: i32 = 6;
const AGED: &str = "update pagemill.partitions set closed_at = closed_at - interval '100 days' where state <> 'open'; \
    update pagemill.runs set created_at = created_at - interval '100 days', lease_until = null";

async fn pull(world: &World, args: &[&str]) {
    let _consumer = world.consumer();
    world.producer(&[&["--wait"], args].concat()).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sealed_stays_sealed_when_its_pages_are_pruned() {
    let world = World::of(2_050).await;
    pull(&world, &[]).await;
    pull(&world, &["--again"]).await;
    world.db().await.batch_execute(AGED).await.unwrap();
    world.pagemill(&["prune"]).await.exits(2).prints(&["--older-than 90d"]);

    let requested = ["prune", "--older-than", "90d", "--json"];
    let dry = world.pagemill(&[&requested[..], &["--dry-run"]].concat()).await.ok().json();
    let pruned = json!({
        "attempts": 1, "pages": 42, "responses": 42, "months": [], "runs": 1, "dead_letters": 0, "consumers": 0
    });
    assert_eq!(dry, pruned);
    assert_eq!(count(&world.db().await, "select count(*) from pagemill.pages").await, 42);
    // Beside a consumer at work.
    let _consumer = world.consumer();
    let other = ["--date", "2026-01-16", "--wait"];
    let (ran, pulled) =
        tokio::join!(world.pagemill(&requested), run(world.command("pagemill-producer", &other)));
    assert_eq!(ran.ok().json(), pruned);
    pulled.ok();

    world.assert_kept(2).await;
    world
        .pagemill(&["verify", "2"])
        .await
        .ok()
        .prints(&["verified by its content hash", "its keys were pruned on"]);
    world.pagemill(&["verify", "3"]).await.ok().prints(&["sealed, verified: the API"]);
    world.pagemill(&["verify", "1"]).await.exits(2);
    world.pagemill(&["status", "2"]).await.ok().prints(&["2050", "pages pruned on"]);
    let drift = world.pagemill(&["drift", "--stream", "creative", "--date", DAY]).await.ok();
    drift.prints(&["not compared: the pulls before run 2 were pruned on"]);
    let reloaded = world.pagemill(&["reload", "--all", "--date", DAY]).await.ok();
    reloaded.prints(&["0 rows read again", "the responses of 21 pages were pruned"]);
    // Its day is there, and may be pulled again.
    world.producer(&[]).await.ok().prints(&["sealed"]);
    pull(&world, &["--again"]).await;
    let drift = world.pagemill(&["drift", "--stream", "creative", "--date", DAY]).await.ok();
    drift.prints(&["not compared: the responses of run 2 were pruned on"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prune_that_dies_is_gone_on_with() {
    let world = World::of(2_050).await;
    pull(&world, &[]).await;
    pull(&world, &["--again"]).await;
    world.db().await.batch_execute(AGED).await.unwrap();
    let requested = ["prune", "--older-than", "90d", "--responses-older-than", "30d"];
    let mut command = world.command("pagemill", &requested);
    command.env("PAGEMILL_CRASH_AT", "prune-before-delete");
    let ran = run(command).await;
    assert_eq!(ran.status.signal(), Some(ABORTED), "the point was not reached: {}", ran.stderr);
    let pages = "select count(*) from pagemill.pages";
    assert_eq!(count(&world.db().await, pages).await, 42);
    world.pagemill(&["verify", "2"]).await.ok().prints(&["its keys were pruned on"]);
    world.pagemill(&requested).await.ok();
    assert_eq!(count(&world.db().await, pages).await, 0);
    assert_eq!(count(&world.db().await, "select count(*) from pagemill.partitions").await, 1);
    world.assert_kept(2).await;
    world.assert_nothing_lost().await;
}

impl World {
    /// The run's numbers, and what is sealed, are as they were.
    async fn assert_kept(&self, run: i64) {
        let status = self.pagemill(&["status", &run.to_string(), "--json"]).await.ok().json();
        assert_eq!(
            (&status["rows"], &status["pages"], &status["requests"], &status["state"]),
            (&json!(2_050), &json!(21), &json!(21), &json!("complete"))
        );
        let sealed = format!("select count(*) from {}_creative_sealed where time = '{DAY}'", self.source);
        assert_eq!(count(&self.db().await, &sealed).await, 2_050);
    }
}
