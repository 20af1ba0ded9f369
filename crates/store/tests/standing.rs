//! A day that did not change, on a real PostgreSQL: where rows stand untouched, an unchanged response
//! is stored by the ledger alone; where anybody wrote them, pages are read as ever.

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
    /// Until every transaction has ended that began before the last page was stored, other tests' on this server
    /// among them: as long as one runs, it might have been at the rows.
    async fn settled(&self) {
        let sql = "select coalesce(max(written::text::bigint), 0) < pg_snapshot_xmin(pg_current_snapshot())::text::bigint \
            from pagemill.pages";
        while self.text(sql).await != "t" {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Opens an attempt whose first page is read; what it stands on.
    async fn opened(&self, value: i64, requested: i64) -> (PageJob, Option<i64>) {
        let job = self.partition(true).await;
        self.store.pages.write(&self.table, &[read(&job, 1, value, requested)]).await.unwrap();
        let partition = self.store.partitions.get(job.partition).await.unwrap();
        let stands_on = self.store.partitions.stand(&self.table, &partition, true).await.unwrap().stands_on;
        assert_eq!(self.store.partitions.get(job.partition).await.unwrap().stands_on, stands_on);
        (job, stands_on)
    }

    async fn same(&self, job: &PageJob, number: u32, on: i64, requested: i64) -> PageWrite {
        let page = self.store.pages.standing_page(on, number).await.unwrap().unwrap();
        let at = jiff::Timestamp::from_second(requested).unwrap();
        PageWrite::unchanged(
            job.at(number, 0),
            UnchangedPage { rows: page.rows, keeps_response: true },
            format!("again {number}"),
            at,
        )
    }

    async fn sealed(&self, job: &PageJob) {
        let report = closed(self.store.partitions.seal(job.partition, Some(&self.table), 0).await.unwrap());
        assert_eq!((report.verdict, report.rows), (Verdict::Sealed, u64::from(PAGES) * 10));
        let partition = self.store.partitions.get(job.partition).await.unwrap();
        let recount = self.store.partitions.recount(&self.table, &partition).await.unwrap();
        assert!(recount.agrees(), "{recount:?}");
    }

    /// A pull in which every page is read.
    async fn pulled(&self, value: i64, requested: i64) -> PageJob {
        let (job, _) = self.opened(value, requested).await;
        let rest: Vec<PageWrite> = (2..=PAGES).map(|n| read(&job, n, value, requested)).collect();
        assert_eq!(self.store.pages.write(&self.table, &rest).await.unwrap().stored, vec![true; rest.len()]);
        self.sealed(&job).await;
        self.settled().await;
        job
    }

    /// A pull in which every page but the first says the same as an attempt's; it stands on that.
    async fn pulled_on(&self, attempt: i64, requested: i64) -> PageJob {
        let (job, stands_on) = self.opened(1, requested).await;
        assert_eq!(stands_on, Some(attempt));
        let mut rest = Vec::new();
        for number in 2..=PAGES {
            rest.push(self.same(&job, number, attempt, requested).await);
        }
        let written = self.store.pages.write(&self.table, &rest).await.unwrap();
        assert_eq!((written.stored, written.progress[0].done), (vec![true; 11], i64::from(PAGES)));
        self.sealed(&job).await;
        self.settled().await;
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
    // Each stands on the one before, which is no longer the one that wrote the rows.
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
async fn what_changed_is_read_and_the_day_after_stands_again() {
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
    world.settled().await;
    let values: Vec<i64> = world.rows().await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values.iter().filter(|value| **value == 9).count(), 10);
    world.pulled_on(second.partition, 300).await;
}

/// Rows that anybody wrote since are read again and repaired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_somebody_was_at_do_not_stand() {
    for done in [
        "update test_rows set value = 7 where id = 42",
        "update test_rows set value = value where id = 42",
        "delete from test_rows where id = 42",
        "insert into test_rows select '7', '2026-01-15', 9999, 8, 0, 0, now()",
        "delete from test_rows where id = 42; insert into test_rows select '7', '2026-01-15', 9999, 8, 0, 0, now()",
        // As from another server's backup.
        "update pagemill.pages set written = '9000000', horizon = '9000000'",
        "update pagemill.pages set horizon = written where page = 3",
        "update pagemill.pages set decode_hash = 77 where page = 3",
        "update pagemill.pages set body_digest = null where page = 3",
        "delete from pagemill.responses where page = 3",
        "delete from pagemill.pages where page = 3",
        "update pagemill.streams set migrated_at = now()",
        "update pagemill.partitions set pruned_at = now()",
        "update pagemill.partitions set state = 'incomplete'",
    ] {
        let world = World::new().await;
        world.pulled(1, 100).await;
        world.execute(done).await;
        let (job, stands_on) = world.opened(1, 200).await;
        assert_eq!(stands_on, None, "{done}");
        let rest: Vec<PageWrite> = (2..=PAGES).map(|n| read(&job, n, 1, 200)).collect();
        world.store.pages.write(&world.table, &rest).await.unwrap();
        world.sealed(&job).await;
    }
}

/// A look that comes again, since whoever looked first died before the pages were published, has the last word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_look_has_the_last_word() {
    let world = World::new().await;
    let first = world.pulled(1, 100).await;
    let (job, stands_on) = world.opened(1, 200).await;
    assert_eq!(stands_on, Some(first.partition));
    let before = world.same(&job, 2, first.partition, 200).await;
    world.execute("update test_rows set value = 7 where id = 42").await;
    let partition = world.store.partitions.get(job.partition).await.unwrap();
    let looked = world.store.partitions.stand(&world.table, &partition, true).await.unwrap();
    assert_eq!((looked.stands_on, looked.job(2, 0).stands_on), (None, None));
    assert_eq!(world.store.partitions.get(job.partition).await.unwrap().stands_on, None);
    assert_eq!(
        world.store.pages.write(&world.table, &[before]).await.unwrap().stored,
        [false],
        "it is to be read"
    );
}

/// A transaction that was under way when the second pull looked at the rows comes to one afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_transaction_of_before_is_seen() {
    let world = World::new().await;
    let slow = world.connect().await;
    let first = world.pulled(1, 100).await;
    slow.batch_execute("begin; select pg_current_xact_id()").await.unwrap();
    let (second, stands_on) = world.opened(1, 200).await;
    assert_eq!(stands_on, Some(first.partition));
    slow.batch_execute("update test_rows set value = 7 where id = 42; commit").await.unwrap();
    for number in 2..=PAGES {
        let page = world.same(&second, number, first.partition, 200).await;
        world.store.pages.write(&world.table, &[page]).await.unwrap();
    }
    closed(world.store.partitions.seal(second.partition, Some(&world.table), 0).await.unwrap());
    let (_, stands_on) = world.opened(1, 300).await;
    assert_eq!(stands_on, None);
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
async fn months_stand_as_well() {
    let world = World::ruled(StreamRules { monthly: true, ..StreamRules::default() }).await;
    let first = world.pulled(1, 100).await;
    world.pulled_on(first.partition, 200).await;
}
