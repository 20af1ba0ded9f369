//! Pruning on a real PostgreSQL: old data goes, and what must stay stays.

mod common;

use std::time::Duration;

use common::{World, closed, page};
use pagemill_core::{Failure, PageJob, Retention, Slice, Verdict};
use pagemill_store::{DeadFilter, KnownPage, PageWrite, Pruned, compress};

const DAY: Duration = Duration::from_secs(86_400);
const NINETY_DAYS: Retention = Retention { history: Some(Duration::from_secs(90 * 86_400)), responses: None };
/// All partitions closed long ago.
const AGED: &str = "update pagemill.partitions set closed_at = closed_at - interval '100 days'; \
    update pagemill.runs set created_at = created_at - interval '100 days', lease_until = null";
/// Partitions from here on are of a month that is over.
const IN_MARCH: &str = "alter table pagemill.partitions alter column id set default 20260300000000 + nextval('pagemill.partition_ids'); \
    select pagemill.open_month('2026-03-01')";

fn ids(from: i64, to: i64) -> Vec<i64> {
    (from..to).collect()
}

fn with_response(job: &PageJob, number: u32, of: &[i64], requested: i64, total: u64) -> PageWrite {
    PageWrite { body: Some(compress(b"{}")), ..page(job, number, of, 1, requested, total) }
}

impl World {
    /// A pull of 15 rows on two pages, with their responses.
    async fn pulled(&self, requested: i64) -> PageJob {
        let job = self.partition(true).await;
        let pages = [
            with_response(&job, 1, &ids(0, 10), requested, 15),
            with_response(&job, 2, &ids(10, 15), requested, 15),
        ];
        self.store.pages.write(&self.table, &pages).await.unwrap();
        let report = closed(self.seal(job.partition, 0).await);
        assert_eq!(report.verdict, Verdict::Complete);
        job
    }

    /// What a dry run says is what a prune does, and a dry run does nothing.
    async fn prune(&self, retention: &Retention) -> Pruned {
        let counts = async || {
            let tables = ["partitions", "pages", "responses", "runs", "dead_letters", "pruning"];
            let mut counts = Vec::new();
            for table in tables {
                counts.push(self.count(&format!("pagemill.{table}")).await);
            }
            counts
        };
        let before = counts().await;
        let dry = self.store.prune(retention, true).await.unwrap();
        assert_eq!(counts().await, before);
        let pruned = self.store.prune(retention, false).await.unwrap();
        assert_eq!(pruned, dry);
        assert_eq!(self.count("pagemill.pruning").await, 0);
        assert_eq!(self.store.prune(retention, false).await.unwrap(), Pruned::default(), "all is done");
        pruned
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_attempts_go_and_the_newest_keeps_its_proof() {
    let world = World::new().await;
    let store = &world.store;
    let first = world.pulled(1).await;
    let newest = world.pulled(2).await;
    assert_eq!(world.prune(&NINETY_DAYS).await, Pruned::default(), "nothing is old");
    let before = store.runs.status(newest.run).await.unwrap();
    world.execute(AGED).await;
    let pruned = world.prune(&NINETY_DAYS).await;
    assert_eq!(pruned, Pruned { attempts: 1, pages: 4, responses: 4, runs: 1, ..Pruned::default() });
    assert!(store.partitions.get(first.partition).await.is_err());
    assert!(store.runs.status(first.run).await.is_err());
    for empty in ["pagemill.pages", "pagemill.responses"] {
        assert_eq!(world.count(empty).await, 0, "{empty}");
    }
    // What was sealed stays sealed, and can be held against the table.
    assert_eq!((world.count("pagemill.sealed").await, world.count("test_rows_sealed").await), (1, 15));
    let partition = store.partitions.get(newest.partition).await.unwrap();
    assert!(partition.pruned_at.is_some() && partition.older_pruned_at.is_some());
    let recount = store.seals.recount(&world.table, &partition).await.unwrap();
    assert!(recount.agrees() && recount.pruned_on.is_some(), "{recount:?}");
    let after = store.runs.status(newest.run).await.unwrap();
    assert_eq!((after.rows, after.requests, after.pages), (before.rows, before.requests, before.pages));
    world.execute("update test_rows set value = 2 where id = 3").await;
    let recount = store.seals.recount(&world.table, &partition).await.unwrap();
    assert!(!recount.agrees() && recount.is_unknown(), "an older row may stand where one is missing");
    world.execute("delete from test_rows where id = 3").await;
    let recount = store.seals.recount(&world.table, &partition).await.unwrap();
    assert!(!recount.agrees() && !recount.is_unknown(), "a row is missing for sure");
    // A later pull takes its place as ever.
    world.pulled(3).await;
    world.execute(AGED).await;
    assert_eq!(world.prune(&NINETY_DAYS).await.attempts, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_go_alone() {
    let world = World::new().await;
    let first = world.pulled(1).await;
    let newest = world.pulled(2).await;
    let retention = Retention { history: Some(90 * DAY), responses: Some(Duration::ZERO) };
    assert_eq!(world.prune(&retention).await, Pruned { responses: 4, ..Pruned::default() });
    for job in [first, newest] {
        let partition = world.store.partitions.get(job.partition).await.unwrap();
        assert!(partition.responses_pruned_at.is_some() && partition.pruned_at.is_none());
    }
    assert_eq!(world.count("pagemill.pages").await, 4);
}

/// A newer attempt that is not sealed does not make the sealed one worthless: the table's rows are its.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_sealed_attempt_stays_and_what_is_open_too() {
    let world = World::new().await;
    let sealed = world.pulled(1).await;
    let open = world.partition(true).await;
    world.store.pages.write(&world.table, &[with_response(&open, 1, &ids(0, 10), 2, 15)]).await.unwrap();
    world.execute(AGED).await;
    world.execute("update pagemill.partitions set opened_at = opened_at - interval '100 days'").await;
    let pruned = world.prune(&NINETY_DAYS).await;
    assert_eq!((pruned.attempts, pruned.pages), (0, 2));
    assert_eq!(
        world.store.pages.known(open.partition).await.unwrap(),
        [KnownPage { page: 1, generation: 0, has_ended: true }]
    );
    assert!(world.store.partitions.get(sealed.partition).await.unwrap().pruned_at.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dead_letters_wait_for_stays_until_they_are_dropped() {
    let world = World::new().await;
    let store = &world.store;
    let job = world.partition(false).await;
    store.pages.write(&world.table, &[with_response(&job, 1, &ids(0, 10), 1, 15)]).await.unwrap();
    store.dead_letters.record(&job.at(2, 0), &Failure::permanent("HTTP 500")).await.unwrap().unwrap();
    closed(world.seal(job.partition, 0).await);
    world.pulled(2).await;
    world.execute(AGED).await;
    let pruned = world.prune(&NINETY_DAYS).await;
    assert_eq!((pruned.attempts, pruned.pages, pruned.dead_letters), (0, 2, 0));
    assert_eq!(world.count("pagemill.pages").await, 2);
    store.dead_letters.drop(&DeadFilter::default()).await.unwrap();
    let pruned = world.prune(&NINETY_DAYS).await;
    assert_eq!((pruned.attempts, pruned.runs), (1, 1), "with its letter, however young");
    assert_eq!(world.count("pagemill.dead_letters").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_that_ended_long_ago_go() {
    let world = World::new().await;
    for id in ["young", "old", "waits"] {
        world.store.dead_letters.record_message("test", id, b"?", "no job").await.unwrap();
    }
    world
        .execute(
            "update pagemill.dead_letters set dropped_at = now() where message_id <> 'waits'; \
             update pagemill.dead_letters set dropped_at = now() - interval '100 days' where message_id = 'old'",
        )
        .await;
    assert_eq!(world.prune(&NINETY_DAYS).await.dead_letters, 1);
    assert_eq!(world.count("pagemill.dead_letters where message_id = 'old'").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_go_with_their_whole() {
    let world = World::new().await;
    let store = &world.store;
    let whole = world.partition(false).await;
    store.pages.write(&world.table, &[with_response(&whole, 1, &ids(0, 10), 1, 15)]).await.unwrap();
    let slice =
        |kind: &str| Slice { part: [("kind".to_owned(), kind.to_owned())].into(), ..whole.slice.clone() };
    let parts = store.partitions.split(whole.partition, &[slice("a"), slice("b")]).await.unwrap();
    for (part, of) in parts.iter().zip([ids(0, 8), ids(8, 15)]) {
        let job = part.job(1, 0);
        store.pages.write(&world.table, &[with_response(&job, 1, &of, 1, of.len() as u64)]).await.unwrap();
        // One part stays open for now.
        if part.id == parts[0].id {
            closed(world.seal(part.id, 0).await);
        }
    }
    world.execute(AGED).await;
    assert_eq!(world.prune(&NINETY_DAYS).await, Pruned::default());
    closed(world.seal(parts[1].id, 0).await);
    closed(world.seal(whole.partition, 0).await);
    let rows = store.runs.status(whole.run).await.unwrap().rows;
    world.execute(AGED).await;
    let pruned = world.prune(&NINETY_DAYS).await;
    assert_eq!((pruned.attempts, pruned.pages, pruned.responses), (0, 3, 3));
    assert_eq!(store.runs.status(whole.run).await.unwrap().rows, rows);
    world.pulled(2).await;
    assert_eq!(world.prune(&NINETY_DAYS).await.attempts, 1);
    assert_eq!(world.count("pagemill.partitions").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_of_which_nothing_stays_is_dropped() {
    let world = World::new().await;
    world.execute(IN_MARCH).await;
    world.pulled(1).await;
    world.execute(AGED).await;
    let pruned = world.prune(&NINETY_DAYS).await;
    let months: Vec<&str> = pruned.months.iter().map(|m| m.table.as_str()).collect();
    assert_eq!(months, ["pages_202603", "responses_202603"]);
    assert!(pruned.months.iter().all(|m| m.bytes > 0));
    assert_eq!((pruned.pages, pruned.responses), (2, 2));
    assert_eq!(world.count("pagemill.pages").await, 0);
    assert_eq!(world.count("pagemill.sealed").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_of_which_something_stays_is_thinned_out() {
    let world = World::new().await;
    world.execute(IN_MARCH).await;
    world.pulled(1).await;
    world.execute(AGED).await;
    let young = world.pulled(2).await;
    let pruned = world.prune(&NINETY_DAYS).await;
    assert_eq!((pruned.attempts, pruned.pages, pruned.months), (1, 2, vec![]));
    assert_eq!(world.count("pagemill.pages_202603").await, 2);
    let young = world.store.partitions.get(young.partition).await.unwrap();
    assert!(world.store.seals.recount(&world.table, &young).await.unwrap().agrees());
}

/// The lock for dropping a month is given up soon, so that others are not stuck behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_go_on_while_a_month_cannot_be_dropped_yet() {
    let world = World::new().await;
    world.execute(IN_MARCH).await;
    let job = world.pulled(1).await;
    world.execute(AGED).await;
    let mut holder = world.connect().await;
    let held = holder.transaction().await.unwrap();
    held.batch_execute("lock table pagemill.responses in row exclusive mode").await.unwrap();
    let store = world.store.clone();
    let pruning = tokio::spawn(async move { store.prune(&NINETY_DAYS, false).await.unwrap() });
    let waits = "pg_locks l join pg_database d on d.oid = l.database where d.datname = current_database() and not granted";
    while world.count(waits).await == 0 {
        assert!(!pruning.is_finished(), "it has to wait");
    }
    // Would wait for ever if the lock were waited for until it is had.
    world.store.responses.pages(job.partition).await.unwrap();
    held.rollback().await.unwrap();
    assert_eq!(pruning.await.unwrap().months.len(), 2);
}
