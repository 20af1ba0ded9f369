//! A day that did not change, on a real PostgreSQL: where the baseline's rows are as they were, an unchanged response
//! is stored by the ledger alone; where anybody wrote them, all rows are staged.

mod common;

use common::{World, closed, page};
use pagemill_core::{BodyDigest, PageJob, Verdict};
use pagemill_store::{PageWrite, StreamRules, UnchangedPage};

const PAGES: u32 = 12;

/// A page as a consumer reads it: with its response and the digest of that.
fn read(job: &PageJob, number: u32, value: i64, requested: i64) -> PageWrite {
    let ids: Vec<i64> = (0..10).map(|id| i64::from(10 * number) + id).collect();
    let response = format!("page {number} of {value}");
    PageWrite {
        body_digest: BodyDigest::new(response.as_bytes(), None),
        body: Some(response.into_bytes()),
        ..page(job, number, &ids, value, requested, u64::from(PAGES) * 10)
    }
}

impl World {
    /// Opens an attempt whose first page is read; its first other job, and its baseline.
    async fn opened(&self, value: i64, requested: i64) -> (PageJob, Option<i64>) {
        let job = self.partition(true).await;
        self.store.pages.write(&self.table, &[read(&job, 1, value, requested)]).await.unwrap();
        let partition = self.store.partitions.get(job.partition).await.unwrap();
        let found = self.store.seals.find_baseline(&self.table, &partition, true).await.unwrap();
        assert_eq!(self.store.partitions.get(job.partition).await.unwrap().baseline, found.baseline);
        (found.job(2, 0), found.baseline)
    }

    async fn same(&self, job: &PageJob, number: u32, on: i64, requested: i64) -> PageWrite {
        let page = self.store.pages.baseline_page(on, number).await.unwrap().unwrap();
        let at = jiff::Timestamp::from_second(requested).unwrap();
        PageWrite::unchanged(
            job.at(number, 0),
            UnchangedPage { rows: page.rows, keeps_response: true },
            format!("again {number}"),
            at,
        )
    }

    async fn sealed_at_least(&self, job: &PageJob) {
        let report = closed(self.seal(job.partition, 0).await);
        assert_eq!((report.verdict, report.rows), (Verdict::Complete, u64::from(PAGES) * 10));
    }

    async fn sealed(&self, job: &PageJob) {
        self.sealed_at_least(job).await;
        let partition = self.store.partitions.get(job.partition).await.unwrap();
        let recount = self.store.seals.recount(&self.table, &partition).await.unwrap();
        assert!(recount.agrees(), "{recount:?}");
    }

    /// A pull in which every page is read.
    async fn pulled(&self, value: i64, requested: i64) -> PageJob {
        let (job, _) = self.opened(value, requested).await;
        let rest: Vec<PageWrite> = (2..=PAGES).map(|n| read(&job, n, value, requested)).collect();
        assert_eq!(self.store.pages.write(&self.table, &rest).await.unwrap().stored, vec![true; rest.len()]);
        self.sealed(&job).await;
        job
    }

    /// A pull in which every page but the first says the same as its baseline's.
    async fn pulled_on(&self, attempt: i64, requested: i64) -> PageJob {
        let (job, baseline) = self.opened(1, requested).await;
        assert_eq!(baseline, Some(attempt));
        let mut rest = Vec::new();
        for number in 2..=PAGES {
            rest.push(self.same(&job, number, attempt, requested).await);
        }
        let written = self.store.pages.write(&self.table, &rest).await.unwrap();
        assert_eq!((written.stored, written.progress[0].done), (vec![true; 11], i64::from(PAGES)));
        self.sealed(&job).await;
        job
    }

    async fn text(&self, sql: &str) -> String {
        let (_, rows) = self.store.query(sql).await.unwrap();
        rows[0][0].clone().unwrap_or_default()
    }

    /// What the ledger says of an attempt's pages beside their requests, their responses, and each row's version.
    async fn said(&self, attempt: i64) -> [String; 3] {
        let pages = format!(
            "select md5(string_agg(concat(page, state, rows, total, key_hashes, content_hash, facts, cast_failures, body_digest, body_digest_before, \
             body_digest_after, decode_hash), ',' order by page)) from pagemill.pages where partition = {attempt}"
        );
        let bodies = format!(
            "select string_agg(convert_from(body, 'UTF8'), ',' order by page) from pagemill.responses where partition = {attempt}"
        );
        let rows = "select md5(string_agg(concat(id, ctid, xmin, xmax), ',' order by id)) from test_rows";
        [self.text(&pages).await, self.text(&bodies).await, self.text(rows).await]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unchanged_day_is_stored_by_the_ledger_alone() {
    let world = World::new().await;
    let first = world.pulled(1, 100).await;
    let said = world.said(first.partition).await;
    assert!(said[1].ends_with(&format!("page {PAGES} of 1")), "{}", said[1]);
    // The baseline of each is the one before, which is no longer the one that wrote the rows.
    let mut before = first;
    for requested in [200, 300, 400] {
        let again = world.pulled_on(before.partition, requested).await;
        assert_eq!(world.said(again.partition).await, said);
        let ids = format!(
            "select request_id from pagemill.pages where partition = {} and page = 7",
            again.partition
        );
        assert_eq!(world.text(&ids).await, "again 7");
        before = again;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_is_staged_and_the_next_pull_has_a_baseline_again() {
    let world = World::new().await;
    let first = world.pulled(1, 100).await;
    let (second, on) = world.opened(1, 200).await;
    assert_eq!(on, Some(first.partition));
    let mut batch = vec![read(&second, 5, 9, 200)];
    for number in (2..=PAGES).filter(|n| *n != 5) {
        batch.push(world.same(&second, number, first.partition, 200).await);
    }
    let written = world.store.pages.write(&world.table, &batch).await.unwrap();
    assert_eq!((written.stored, written.progress[0].done), (vec![true; 11], i64::from(PAGES)));
    world.sealed(&second).await;
    let values: Vec<i64> = world.rows().await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values.iter().filter(|value| **value == 9).count(), 10);
    world.pulled_on(second.partition, 300).await;
}

/// Rows that anybody wrote since are read again and repaired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_somebody_has_changed_are_no_baseline() {
    for done in [
        "update test_rows set value = 7 where id = 42",
        "delete from test_rows where id = 42",
        "insert into test_rows select '7', '2026-01-15', 9999, 8, 0, 0, now()",
        "delete from test_rows where id = 42; insert into test_rows select '7', '2026-01-15', 9999, 8, 0, 0, now()",
        "update pagemill.pages set row_hashes = null where page = 3",
        "update pagemill.partitions set decode_hash = 77",
        "update pagemill.partitions set digest = null",
        "delete from pagemill.responses where page = 3",
        "delete from pagemill.pages where page = 3",
        "update pagemill.partitions set pruned_at = now()",
        "delete from pagemill.sealed_cells",
    ] {
        let world = World::new().await;
        world.pulled(1, 100).await;
        world.execute(done).await;
        let (job, baseline) = world.opened(1, 200).await;
        assert_eq!(baseline, None, "{done}");
        let rest: Vec<PageWrite> = (2..=PAGES).map(|n| read(&job, n, 1, 200)).collect();
        world.store.pages.write(&world.table, &rest).await.unwrap();
        world.sealed(&job).await;
        // Repaired, it is the next one's baseline.
        world.pulled_on(job.partition, 300).await;
    }
}

/// What another server's dump brings back is as good: nothing of the server's own is compared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_written_as_they_were_are_still_the_baseline() {
    let world = World::new().await;
    let first = world.pulled(1, 100).await;
    world.execute("create table copy as select * from test_rows; truncate test_rows; insert into test_rows select * from copy").await;
    world.pulled_on(first.partition, 200).await;
}

/// A look that comes again, since whoever looked first died before the pages were published, has the last word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_look_has_the_last_word() {
    let world = World::new().await;
    let first = world.pulled(1, 100).await;
    let (job, baseline) = world.opened(1, 200).await;
    assert_eq!(baseline, Some(first.partition));
    let before = world.same(&job, 2, first.partition, 200).await;
    world.execute("update test_rows set value = 7 where id = 42").await;
    let partition = world.store.partitions.get(job.partition).await.unwrap();
    let looked = world.store.seals.find_baseline(&world.table, &partition, true).await.unwrap();
    assert_eq!((looked.baseline, looked.job(2, 0).baseline), (None, None));
    assert_eq!(world.store.partitions.get(job.partition).await.unwrap().baseline, None);
    let stored = world.store.pages.write(&world.table, &[before]).await.unwrap().stored;
    assert_eq!(stored, [false], "it is to be read");
    // Jobs of before the second look stage all their rows.
    let rest: Vec<PageWrite> = (2..=PAGES).map(|n| read(&job, n, 1, 200)).collect();
    assert_eq!(world.store.pages.write(&world.table, &rest).await.unwrap().stored, vec![true; rest.len()]);
    assert_eq!(world.count("pagemill.staged_test_rows").await, 120);
    world.sealed(&job).await;
    assert!(world.rows().await.iter().all(|(_, value)| *value == 1));
}

/// A row that somebody changes after the look at the baseline is not what the attempt leads from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_go_after_the_look_are_noticed() {
    let world = World::new().await;
    let first = world.pulled(1, 100).await;
    let (job, baseline) = world.opened(1, 200).await;
    assert_eq!(baseline, Some(first.partition));
    for number in 2..=PAGES {
        let page = world.same(&job, number, first.partition, 200).await;
        world.store.pages.write(&world.table, &[page]).await.unwrap();
    }
    world.execute("update test_rows set value = 7 where id = 42").await;
    world.sealed_at_least(&job).await;
    // The seal did not see it; the next pull does.
    let (_, baseline) = world.opened(1, 300).await;
    assert_eq!(baseline, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_longer_there_cannot_be_the_same() {
    let world = World::new().await;
    let first = world.pulled(1, 100).await;
    let (job, _) = world.opened(1, 200).await;
    let mut batch = Vec::new();
    for number in 2..=5 {
        batch.push(world.same(&job, number, first.partition, 200).await);
    }
    let gone = format!(
        "delete from pagemill.pages where partition = {0} and page = 3; delete from pagemill.responses where partition = {0} and page = 4",
        first.partition
    );
    world.execute(&gone).await;
    let written = world.store.pages.write(&world.table, &batch).await.unwrap();
    assert_eq!(written.stored, [true, false, false, true], "these two are to be read");
    // Without responses to keep, its page is enough.
    let unkept = batch.pop().unwrap();
    let unkept = PageWrite {
        job: job.at(4, 0),
        unchanged: Some(UnchangedPage { keeps_response: false, ..unkept.unchanged.unwrap() }),
        ..unkept
    };
    assert_eq!(world.store.pages.write(&world.table, &[unkept]).await.unwrap().stored, [true]);
    // What was stored already is refused like any other copy.
    let copy = world.same(&job, 2, first.partition, 150).await;
    assert_eq!(world.store.pages.write(&world.table, &[copy]).await.unwrap().stored, [false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn months_are_baselines_as_well() {
    let world = World::ruled(StreamRules { monthly: true, ..StreamRules::default() }).await;
    let first = world.pulled(1, 100).await;
    world.pulled_on(first.partition, 200).await;
}
