//! Quotas of several windows, accounts and lanes; and an operator's word on them.

use std::{fs, time::Duration};

use tokio::time::{Instant, sleep};

use crate::world::{ACCOUNT, PATIENCE, World, count, run, slow};

async fn wait_for(world: &World, sql: &str) {
    let db = world.db().await;
    let begun = Instant::now();
    while count(&db, sql).await == 0 {
        assert!(begun.elapsed() < PATIENCE, "never came: {sql}: {}", world.status().await);
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_whose_day_is_used_up_lets_the_others_go_on() {
    let world = World::with(slow(2_000), "").await;
    world.configure("workers = 4", "rate = { per_second = 200, account = { per_day = 1000 } }");
    let config = fs::read_to_string(world.config()).unwrap();
    let accounts = format!("accounts = [\"{ACCOUNT}\", \"1002\", \"1003\"]");
    fs::write(world.config(), config.replace(&format!("accounts = [\"{ACCOUNT}\"]"), &accounts)).unwrap();
    world.producer(&[]).await.ok();
    let key = format!("{}@{ACCOUNT}", world.source);
    world.pagemill(&["quota", "set", &key, "--per-day", "3"]).await.ok().prints(&["3/day (set)"]);
    let consumer = world.consumer();
    wait_for(&world, "select (count(*) = 2)::int::bigint from pagemill.partitions where state = 'sealed'")
        .await;
    let used = format!("select (done = 3)::int::bigint from pagemill.partitions where account = '{ACCOUNT}'");
    wait_for(&world, &used).await;
    let db = world.db().await;
    assert_eq!(world.simulator.stats().seen, 20 + 20 + 3, "its day is used up");
    assert_eq!(count(&db, "select coalesce(sum(attempts), 0)::bigint from pagemill.pages").await, 0);
    world.pagemill(&["quota", "reset", &key]).await.ok();
    let status = world.ended().await;
    assert_eq!(
        (&status["state"], &status["dead"]),
        (&"complete".into(), &0.into()),
        "{status} {}",
        consumer.log()
    );
    // No page was requested twice.
    assert_eq!(world.simulator.stats().seen, 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_shut_holds_nothing_and_goes_on_when_it_opens() {
    let world = World::with(slow(2_000), "").await;
    world.configure("", "rate = { per_second = 100, per_day = 8 }");
    world.producer(&[]).await.ok();
    let consumer = world.consumer();
    consumer.logs("the quota is used up").await;
    world.pages_done(8).await;
    let shown = world.pagemill(&["quota", "show", &world.source, "--json"]).await.ok().json();
    assert!(shown["day_used"] == 8 && shown["opens_in"].as_f64().unwrap() > 15.0, "{shown}");
    world.pagemill(&["quota", "set", &world.source, "--per-day", "500"]).await.ok();
    world.assert_nothing_lost().await;
    assert_eq!(world.simulator.stats().seen, 20, "{}", consumer.log());
    world.pagemill(&["quota", "set", "nobody", "--per-day", "5"]).await.exits(2).prints(&["no quota nobody"]);
    world.pagemill(&["quota", "set", &world.source]).await.exits(2).prints(&["--per-second"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_lets_the_morning_run_pass() {
    let world = World::with(slow(3_000), "").await;
    world.configure("workers = 4", "rate = { per_second = 100 }");
    let produce = |from: &'static str, to: &'static str| {
        run(world.command("pagemill-producer", &["--from", from, "--to", to]))
    };
    produce("2026-01-10", "2026-01-14").await.ok();
    produce("2026-01-15", "2026-01-15").await.ok();
    let _consumer = world.consumer();
    world.ended().await;
    let db = world.db().await;
    let sealed = "select count(*) from pagemill.partitions where state = 'sealed'";
    assert_eq!(count(&db, sealed).await, 6);
    let overtaken = "select count(*) from pagemill.partitions low, pagemill.partitions first \
        where low.lane = 'low' and first.lane = 'pages' and low.closed_at < first.closed_at";
    assert_eq!(count(&db, overtaken).await, 0);
    // Little of the other lane is requested before: what was prefetched.
    let between = "select count(*) from pagemill.pages page, pagemill.partitions low, pagemill.partitions first \
        where low.lane = 'low' and first.lane = 'pages' and page.partition = low.id and page.page > 1 \
        and page.requested_at < first.closed_at";
    let between = count(&db, between).await;
    assert!(
        between <= 70,
        "{between} of 145 pages of the backfill were requested before the morning run was sealed"
    );
}
