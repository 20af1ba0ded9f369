//! A day that is pulled again is replaced whole, or not at all, on a real PostgreSQL.

mod common;

use std::time::Duration;

use common::{World, closed, page, reason};
use jiff::civil::{Date, date};
use pagemill_core::{Lane, PageJob, Slice, Verdict, WriteMode};
use pagemill_store::{
    Applied, NewPartition, PageWrite, PartitionState, RunPlanRequest, SealReport, StreamRules,
};

const AT_MOST: Duration = Duration::from_secs(60);

fn ids(from: i64, to: i64) -> Vec<i64> {
    (from..to).collect()
}

impl World {
    /// Stores an attempt's rows, 10 a page, each id with its value.
    async fn store_rows(&self, job: &PageJob, of: &[i64], value: impl Fn(i64) -> i64, requested: i64) {
        for (ids, number) in of.chunks(10).zip(1..) {
            // Each page has rows of one value: rows of several are told apart by their pages.
            let write = page(job, number, ids, value(i64::from(number)), requested, of.len() as u64);
            assert_eq!(self.store.pages.write(&self.table, &[write]).await.unwrap().stored, [true]);
        }
        if of.is_empty() {
            let write = page(job, 1, &[], 0, requested, 0);
            assert_eq!(self.store.pages.write(&self.table, &[write]).await.unwrap().stored, [true]);
        }
    }

    /// A pull that is sealed: its job, and what the seal changed.
    async fn pulled(&self, of: &[i64], value: impl Fn(i64) -> i64, requested: i64) -> (PageJob, SealReport) {
        let job = self.partition(true).await;
        self.store_rows(&job, of, value, requested).await;
        let report = self.sealed(&job).await;
        (job, report)
    }

    async fn sealed(&self, job: &PageJob) -> SealReport {
        let proving = self.store.seals.prove(job.partition, Some(&self.table), 0).await.unwrap();
        assert_eq!(closed(proving).verdict, Verdict::Complete);
        self.apply(job.partition).await
    }

    async fn seen(&self) -> Vec<(i64, i64)> {
        let (_, rows) = self.store.query("select id, value from test_rows_sealed order by id").await.unwrap();
        let number = |v: &Option<String>| v.as_ref().unwrap().parse().unwrap();
        rows.iter().map(|r| (number(&r[0]), number(&r[1]))).collect()
    }

    async fn staged(&self) -> i64 {
        self.count("pagemill.staged_test_rows").await
    }

    async fn assert_agrees(&self, job: &PageJob) {
        let partition = self.store.partitions.get(job.partition).await.unwrap();
        let recount = self.store.seals.recount(&self.table, &partition).await.unwrap();
        assert!(recount.agrees() && recount.older_rows == 0, "{recount:?}");
    }

    /// Opens attempts at these days, from and to.
    async fn plan(&self, days: &[(i8, i8)]) -> Vec<PageJob> {
        let day = |n| -> Date { date(2026, 1, n) };
        let wanted: Vec<NewPartition> = (days.iter())
            .map(|(from, to)| NewPartition {
                slice: Slice {
                    source: "test".into(),
                    stream: "rows".into(),
                    account: "7".into(),
                    from: day(*from),
                    to: day(*to),
                    part: Default::default(),
                },
                row_account: "7".into(),
                date_scope: "within",
                lane: Lane::High,
                page_size: 10,
                subset: None,
                chained: false,
                due_if_requested_before: None,
            })
            .collect();
        let requested = serde_json::json!({ "days": days });
        let request = RunPlanRequest { requested, again: true, owner: "test".into() };
        let planned = self.store.runs.plan(&request, &wanted).await.unwrap();
        planned.open.iter().map(|opened| opened.partition.job(1, 0)).collect()
    }

    async fn state(&self, job: &PageJob) -> (PartitionState, Option<String>) {
        let partition = self.store.partitions.get(job.partition).await.unwrap();
        (partition.state, partition.reason)
    }
}

fn replaced(report: &SealReport) -> (u64, u64, u64) {
    (report.replaced.added, report.replaced.changed, report.replaced.gone)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_the_old_day_until_the_new_one_is_sealed() {
    let world = World::new().await;
    let first = world.partition(true).await;
    world.store_rows(&first, &ids(0, 30), |_| 1, 100).await;
    assert_eq!(world.rows().await.len(), 30, "the plain table shows a first pull before it is proved");
    assert!(world.seen().await.is_empty(), "the view does not");
    world.sealed(&first).await;
    let before = world.seen().await;
    assert_eq!(before, (0..30).map(|id| (id, 1)).collect::<Vec<_>>());

    // 5 rows go, 5 come, those of the second page have another value.
    let again = world.partition(true).await;
    assert_eq!(again.write_mode, WriteMode::Staged);
    let value = |number| if number == 2 { 9 } else { 1 };
    world.store_rows(&again, &ids(5, 35), value, 200).await;
    assert_eq!((world.seen().await, world.rows().await), (before.clone(), before.clone()));
    let proving = world.store.seals.prove(again.partition, Some(&world.table), 0).await.unwrap();
    assert_eq!(closed(proving).verdict, Verdict::Complete);
    assert_eq!((world.state(&again).await.0, world.seen().await), (PartitionState::Proved, before));

    let report = world.apply(again.partition).await;
    assert_eq!(replaced(&report), (5, 10, 5));
    let after = world.seen().await;
    assert_eq!(after, (5..35).map(|id| (id, if (15..25).contains(&id) { 9 } else { 1 })).collect::<Vec<_>>());
    assert_eq!((world.rows().await, world.staged().await), (after, 0));
    world.assert_agrees(&again).await;
    // A row names the pull that changed it last.
    let by_run = |run| format!("test_rows where _run = {run}");
    assert_eq!(world.count(&by_run(first.run)).await, 15);
    assert_eq!(world.count(&by_run(again.run)).await, 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_is_not_proved_changes_nothing() {
    let world = World::new().await;
    let (first, _) = world.pulled(&ids(0, 30), |_| 1, 100).await;
    let before = world.seen().await;
    let again = world.partition(true).await;
    // The last page lacks a row.
    let writes = [
        page(&again, 1, &ids(0, 10), 2, 200, 30),
        page(&again, 2, &ids(10, 20), 2, 200, 30),
        page(&again, 3, &ids(20, 29), 2, 200, 30),
    ];
    world.store.pages.write(&world.table, &writes).await.unwrap();
    let report = closed(world.seal(again.partition, 0).await);
    assert_eq!(reason(report), "29 distinct keys, but the API states 30 rows");
    assert!(world.store.seals.apply(&world.table, again.partition, AT_MOST).await.unwrap().is_none());
    assert_eq!((world.seen().await, world.rows().await), (before.clone(), before));
    // It says so: the run is superseded by none, and its rows are the first one's.
    world.assert_agrees(&first).await;
    assert_eq!((world.store.seals.clear_unneeded_staged().await.unwrap(), world.staged().await), (29, 0));
}

/// An empty day is one like any other, in both directions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_becomes_empty_and_full_again() {
    let world = World::new().await;
    world.pulled(&ids(0, 20), |_| 1, 100).await;
    let (empty, report) = world.pulled(&[], |_| 1, 200).await;
    assert_eq!((replaced(&report), world.rows().await.len()), ((0, 0, 20), 0));
    world.assert_agrees(&empty).await;
    let (full, report) = world.pulled(&ids(0, 20), |_| 3, 300).await;
    assert_eq!((replaced(&report), world.seen().await.len()), ((20, 0, 0), 20));
    world.assert_agrees(&full).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_gone_may_be_kept_and_come_back() {
    let world = World::ruled(StreamRules { keeps_missing: true, ..StreamRules::default() }).await;
    world.pulled(&ids(0, 30), |_| 1, 100).await;
    let (less, report) = world.pulled(&ids(0, 20), |_| 1, 200).await;
    assert_eq!(replaced(&report), (0, 0, 10));
    assert_eq!((world.seen().await.len(), world.rows().await.len()), (20, 30));
    assert_eq!(world.count("test_rows where _gone_at is not null").await, 10);
    world.assert_agrees(&less).await;
    let (back, report) = world.pulled(&ids(0, 25), |_| 1, 300).await;
    assert_eq!(replaced(&report), (5, 0, 0));
    assert_eq!(
        (world.seen().await.len(), world.count("test_rows where _gone_at is not null").await),
        (25, 5)
    );
    world.assert_agrees(&back).await;
}

/// Whatever the database's clock said when rows were requested: the newer attempt has the last word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_steps_back_keeps_no_old_row() {
    let world = World::new().await;
    world.pulled(&ids(0, 20), |_| 1, 1_000_000).await;
    let (again, _) = world.pulled(&ids(0, 20), |_| 2, 100).await;
    assert!(world.seen().await.iter().all(|(_, value)| *value == 2));
    world.assert_agrees(&again).await;
}

/// Within a first pull, which writes directly, rows are fenced by time. If the clock has stepped back meanwhile, all pages are
/// fetched again, and staged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_pull_whose_clock_stepped_back_is_staged() {
    let world = World::new().await;
    let job = world.partition(true).await;
    let ahead = jiff::Timestamp::now().as_second() + 3_600;
    world.store_rows(&job, &ids(0, 20), |_| 1, ahead).await;
    let proving = world.store.seals.prove(job.partition, Some(&world.table), 3).await.unwrap();
    let Some(pagemill_store::Proving::Restage(reissued)) = proving else { panic!("{proving:?}") };
    let jobs: Vec<&PageJob> = reissued.iter().flat_map(|reissued| &reissued.jobs).collect();
    assert_eq!(jobs.iter().map(|job| (job.page, job.generation)).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
    let now = ahead - 7_200;
    for (job, of) in jobs.iter().zip([ids(0, 10), ids(10, 20)]) {
        let write = PageWrite { job: (*job).clone(), ..page(job, job.page, &of, 2, now, 20) };
        assert_eq!(world.store.pages.write(&world.table, &[write]).await.unwrap().stored, [true]);
    }
    world.sealed(&job).await;
    assert_eq!(world.seen().await, (0..20).map(|id| (id, 2)).collect::<Vec<_>>());
    world.assert_agrees(&job).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_stored_again_replaces_its_staged_rows() {
    let world = World::new().await;
    world.pulled(&ids(0, 20), |_| 1, 100).await;
    let again = world.partition(true).await;
    world.store_rows(&again, &ids(0, 20), |_| 2, 200).await;
    let later = page(&again, 2, &ids(15, 25), 3, 201, 20);
    world.store.pages.write(&world.table, &[later]).await.unwrap();
    assert_eq!(world.staged().await, 20);
    world.sealed(&again).await;
    assert_eq!(world.seen().await[9..11], [(9, 2), (15, 3)]);
    world.assert_agrees(&again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staged_rows_that_are_lost_are_fetched_again() {
    let world = World::new().await;
    world.pulled(&ids(0, 20), |_| 1, 100).await;
    let again = world.partition(true).await;
    world.store_rows(&again, &ids(0, 20), |_| 2, 200).await;
    world.execute("delete from pagemill.staged_test_rows where id = 7").await;
    let proving = world.store.seals.prove(again.partition, Some(&world.table), 0).await.unwrap();
    assert_eq!(closed(proving).verdict, Verdict::Complete);
    let applied = world.store.seals.apply(&world.table, again.partition, AT_MOST).await.unwrap();
    let Some(Applied::Restage(reissued)) = applied else { panic!("{applied:?}") };
    assert!(world.seen().await.iter().all(|(_, value)| *value == 1));
    for (job, of) in reissued[0].jobs.iter().zip([ids(0, 10), ids(10, 20)]) {
        let write = PageWrite { job: job.clone(), ..page(job, job.page, &of, 2, 300, 20) };
        assert_eq!(world.store.pages.write(&world.table, &[write]).await.unwrap().stored, [true]);
    }
    world.sealed(&again).await;
    assert!(world.seen().await.iter().all(|(_, value)| *value == 2));
    world.assert_agrees(&again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_attempt_never_replaces_a_newer_seal() {
    let world = World::new().await;
    // A first pull of the 14th to the 16th writes directly; one of the 15th to the 17th overlaps.
    let older = world.plan(&[(14, 16)]).await.remove(0);
    let newer = world.plan(&[(15, 17)]).await.remove(0);
    assert_eq!((older.write_mode, newer.write_mode), (WriteMode::Direct, WriteMode::Staged));
    world.store_rows(&newer, &ids(0, 10), |_| 2, 200).await;
    let proving = world.store.seals.prove(newer.partition, Some(&world.table), 0).await.unwrap();
    assert_eq!(closed(proving).verdict, Verdict::Complete);
    let apply =
        async |job: &PageJob| world.store.seals.apply(&world.table, job.partition, AT_MOST).await.unwrap();
    // The older one may still write into the table: it comes first.
    assert!(matches!(apply(&newer).await, Some(Applied::Waiting)));
    world.store_rows(&older, &ids(0, 20), |_| 1, 100).await;
    world.sealed(&older).await;
    assert_eq!(world.seen().await.len(), 20);
    assert!(matches!(apply(&newer).await, Some(Applied::Sealed(_))));
    assert_eq!(world.seen().await, (0..10).map(|id| (id, 2)).collect::<Vec<_>>());
    let cells = world
        .store
        .query("select string_agg(from_date::text || ' ' || attempt, ',' order by from_date) from pagemill.sealed_cells")
        .await;
    let (_, cells) = cells.unwrap();
    let expected = [(14, &older), (15, &newer), (16, &newer), (17, &newer)]
        .map(|(day, job)| format!("2026-01-{day} {}", job.partition));
    assert_eq!(cells[0][0].as_deref(), Some(expected.join(",").as_str()));

    // Two that are both staged: the newer is sealed first.
    let older = world.plan(&[(13, 15)]).await.remove(0);
    let newer = world.plan(&[(15, 16)]).await.remove(0);
    world.store_rows(&older, &ids(0, 10), |_| 3, 300).await;
    world.store_rows(&newer, &ids(0, 10), |_| 4, 400).await;
    world.sealed(&newer).await;
    let proving = world.store.seals.prove(older.partition, Some(&world.table), 0).await.unwrap();
    assert_eq!(closed(proving).verdict, Verdict::Complete);
    assert!(matches!(apply(&older).await, Some(Applied::Superseded(..))));
    let (state, reason) = world.state(&older).await;
    let expected = format!("superseded: run {} has sealed newer data", newer.run);
    assert_eq!((state, reason.as_deref()), (PartitionState::Incomplete, Some(expected.as_str())));
    assert!(world.seen().await.iter().all(|(_, value)| *value == 4));
}

/// A proved attempt is applied once, however many try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_is_applied_once() {
    let world = World::new().await;
    world.pulled(&ids(0, 50), |_| 1, 100).await;
    let again = world.partition(true).await;
    world.store_rows(&again, &ids(0, 50), |_| 2, 200).await;
    let proving = world.store.seals.prove(again.partition, Some(&world.table), 0).await.unwrap();
    assert_eq!(closed(proving).verdict, Verdict::Complete);
    let apply = || world.store.seals.apply(&world.table, again.partition, AT_MOST);
    let (a, b, c) = tokio::join!(apply(), apply(), apply());
    let all = [a.unwrap(), b.unwrap(), c.unwrap()];
    assert_eq!(
        all.iter().filter(|applied| matches!(applied, Some(Applied::Sealed(_)))).count(),
        1,
        "{all:?}"
    );
    assert!(apply().await.unwrap().is_none());
    world.assert_agrees(&again).await;
}

/// Rows that closed attempts and others left in a slice that was never sealed go with its first seal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_seal_deletes_what_was_left() {
    let world = World::new().await;
    let first = world.partition(true).await;
    world.store_rows(&first, &ids(0, 30), |_| 1, 100).await;
    world.store.partitions.close_incomplete(first.partition, "stopped").await.unwrap().unwrap();
    let second = world.partition(true).await;
    assert_eq!(second.write_mode, WriteMode::Direct, "nothing was sealed");
    world.store_rows(&second, &ids(20, 40), |_| 2, 50).await;
    assert_eq!(world.rows().await.len(), 40);
    world.sealed(&second).await;
    assert_eq!(world.rows().await, (20..40).map(|id| (id, 2)).collect::<Vec<_>>());
    world.assert_agrees(&second).await;
}
