//! Rows of other days or accounts than their slice's: never stored, counted at the seal.

mod common;

use common::{World, closed, page, reason, repair};
use jiff::{SignedDuration, Timestamp, civil::date};
use pagemill_core::{Column, FetchedPage, Kind, PageJob, Rows, Slice, Verdict};
use pagemill_store::{PageWrite, PartitionState, ProofReport, Recount, StreamRules};
use rust_decimal::Decimal;
use serde_json::json;

const ROUNDS: u32 = 3;

fn ids(from: i64, to: i64) -> Vec<i64> {
    (from..to).collect()
}

/// Where rows come from: the account, the day of January, their ids.
type RowsOf<'a> = (&'a str, i8, Vec<i64>);

/// A page as it came, of rows of value 1.
fn fetched(rows: &[RowsOf<'_>], total: Option<u64>, sum: Option<i64>) -> FetchedPage {
    let each = || rows.iter().flat_map(|(account, day, ids)| ids.iter().map(move |id| (*account, *day, *id)));
    let mut accounts = Column::with_capacity(Kind::Text, 0);
    if let Column::Text(texts) = &mut accounts {
        each().for_each(|(account, ..)| texts.push(Some(account)));
    }
    let columns = vec![
        accounts,
        Column::Date(each().map(|(_, day, _)| Some(date(2026, 1, day))).collect()),
        Column::Bigint(each().map(|(.., id)| Some(id)).collect()),
        Column::Bigint(each().map(|_| Some(1)).collect()),
    ];
    FetchedPage {
        rows: Rows::new(each().count(), columns),
        total,
        next: None,
        sums: sum.into_iter().map(|sum| Some(Decimal::from(sum))).collect(),
        request_id: None,
        body_digest: None,
        body: Default::default(),
        cast_failures: vec![],
        unmapped: vec![],
        absent: vec![],
        budget: None,
    }
}

impl World {
    async fn store_page(&self, job: &PageJob, page: FetchedPage) {
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(i64::from(job.generation) + 1);
        let write = PageWrite::new(&self.table, job.clone(), page, at, None);
        assert_eq!(self.store.pages.write(&self.table, &[write]).await.unwrap().stored, [true]);
    }

    async fn sealed(&self, partition: i64) -> ProofReport {
        closed(self.seal(partition, ROUNDS).await)
    }

    async fn recount(&self, partition: i64) -> Recount {
        let partition = self.store.partitions.get(partition).await.unwrap();
        self.store.seals.recount(&self.table, &partition).await.unwrap()
    }
}

fn dropping() -> StreamRules {
    StreamRules { drops_outside: true, sums: vec![3], ..StreamRules::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_another_day_or_account_is_not_stored_and_the_partition_is_incomplete() {
    let world = World::new().await;
    // Another slice's row, which the page brings with another value.
    world.execute("insert into test_rows values ('7', '2026-01-14', 3, 9, 0, 1, '1970-01-01')").await;
    let job = world.partition(false).await;
    let rows = [("7", 15, ids(0, 5)), ("7", 14, vec![3, 4]), ("8", 15, vec![0])];
    world.store_page(&job, fetched(&rows, Some(8), None)).await;
    let report = world.sealed(job.partition).await;
    assert_eq!(
        reason(report),
        "3 rows of other days or accounts, such as day 2026-01-14, were not stored: correct the request, \
         or set outside = \"drop\" in the definition"
    );
    assert_eq!(world.count("test_rows where account = '7' and day = '2026-01-15'").await, 5);
    assert_eq!(world.count("test_rows").await, 6);
    assert_eq!(world.count("test_rows where day = '2026-01-14' and value = 9").await, 1);
    let recount = world.recount(job.partition).await;
    assert_eq!((recount.state, recount.ledger_keys), (PartitionState::Incomplete, 5));
    assert_eq!(recount.warnings, json!([]), "the reason says it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_may_be_dropped_count_for_total_and_sums() {
    let world = World::ruled(dropping()).await;
    let job = world.partition(false).await;
    let pages =
        [vec![("7", 14, vec![3, 4]), ("7", 15, ids(0, 8))], vec![("7", 15, ids(8, 11)), ("8", 15, vec![0])]];
    for (number, rows) in (1..).zip(&pages) {
        world.store_page(&job.at(number, 0), fetched(rows, Some(14), Some(14))).await;
    }
    let report = world.sealed(job.partition).await;
    assert_eq!((report.verdict, report.rows), (Verdict::Complete, 11));
    assert_eq!(report.warnings, ["3 rows of other days or accounts were dropped, such as day 2026-01-14"]);
    assert_eq!(world.count("test_rows").await, 11);
    let recount = world.recount(job.partition).await;
    assert!(recount.agrees(), "{recount:?}");
    assert_eq!((recount.total, recount.table_keys, recount.dropped_rows), (Some(14), 11, 3));
    assert_eq!(recount.sums, json!({ "value": "14" }));
    let proof =
        "pagemill.partitions where proof->'outside' = '{\"rows\": 3, \"example\": \"day 2026-01-14\"}'";
    assert_eq!(world.count(proof).await, 1);
    let dropped = world.store.seals.dropped_rows(job.run).await.unwrap();
    assert_eq!(dropped, [(job.partition, 3)].into());

    // The same rows in other pages have the same content hash.
    let again = world.partition(true).await;
    world.store_page(&again, fetched(&pages.concat(), Some(14), Some(14))).await;
    let second = fetched(&[], Some(14), Some(14));
    world.store_page(&again.at(2, 0), second).await;
    assert_eq!(world.sealed(again.partition).await.verdict, Verdict::Complete);
    assert_eq!(world.recount(again.partition).await.content_hash, recount.content_hash);
}

/// A dropped row that came twice stands for one that is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_row_that_comes_twice_is_noticed() {
    let world = World::ruled(dropping()).await;
    let job = world.partition(false).await;
    let first = [("7", 15, ids(0, 9)), ("7", 14, vec![3])];
    let second = [("7", 14, vec![3]), ("7", 15, ids(9, 18))];
    world.store_page(&job, fetched(&first, Some(40), None)).await;
    world.store_page(&job.at(2, 0), fetched(&second, Some(40), None)).await;
    for (number, from) in [(3, 18), (4, 28)] {
        world
            .store_page(&job.at(number, 0), fetched(&[("7", 15, ids(from, from + 10))], Some(40), None))
            .await;
    }
    // The pages that hold it, and their neighbours; none of them is short.
    let sealing = world.seal(job.partition, ROUNDS).await;
    assert_eq!(repair(sealing), [(1, 1), (2, 1), (3, 1)]);
    let mended = [("7", 15, vec![38]), ("7", 15, ids(9, 18))];
    world.store_page(&job.at(1, 1), fetched(&first, Some(40), None)).await;
    world.store_page(&job.at(2, 1), fetched(&mended, Some(40), None)).await;
    world.store_page(&job.at(3, 1), fetched(&[("7", 15, ids(18, 28))], Some(40), None)).await;
    assert_eq!(world.sealed(job.partition).await.verdict, Verdict::Complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_total_counts_dropped_rows_where_the_api_states_none() {
    let world = World::ruled(StreamRules { chained: true, ..dropping() }).await;
    let job = world.partition(false).await;
    world.store_page(&job, fetched(&[("7", 15, ids(0, 5)), ("7", 16, vec![1])], None, None)).await;
    assert_eq!(world.sealed(job.partition).await.verdict, Verdict::Complete);
    let recount = world.recount(job.partition).await;
    assert!(recount.agrees(), "{recount:?}");
    assert_eq!((recount.total, recount.dropped_rows), (Some(6), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_adds_up_what_its_parts_dropped() {
    for drops_outside in [true, false] {
        let world = World::ruled(StreamRules { window: Some(10), drops_outside, ..dropping() }).await;
        let job = world.partition(false).await;
        let first = [("7", 15, ids(0, 9)), ("7", 14, vec![3])];
        world.store_page(&job, fetched(&first, Some(18), Some(18))).await;
        let part =
            |kind: &str| Slice { part: [("kind".to_owned(), kind.to_owned())].into(), ..job.slice.clone() };
        let parts = world.store.partitions.split(job.partition, &["a", "b"].map(part)).await.unwrap();
        for (part, from) in parts.iter().zip([0, 8]) {
            let rows = [("7", 15, ids(from, from + 8)), ("7", 14, vec![from])];
            world.store_page(&part.job(1, 0), fetched(&rows, Some(9), Some(9))).await;
            let report = world.sealed(part.id).await;
            assert_eq!((report.verdict == Verdict::Complete, report.warnings.len()), (drops_outside, 0));
        }
        let report = world.sealed(job.partition).await;
        let recount = world.recount(job.partition).await;
        if drops_outside {
            assert_eq!((report.verdict, report.rows), (Verdict::Complete, 16));
            assert_eq!(
                report.warnings,
                ["2 rows of other days or accounts were dropped, such as day 2026-01-14"]
            );
            assert!(recount.agrees(), "{recount:?}");
            assert_eq!((recount.total, recount.dropped_rows), (Some(18), 2));
        } else {
            let reason = reason(report);
            assert!(
                reason.starts_with("2 of 2 parts are incomplete: ") && reason.contains("1 rows of other"),
                "{reason}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_page_says_nothing_of_it() {
    let world = World::ruled(dropping()).await;
    let job = world.partition(false).await;
    let write = PageWrite::new(
        &world.table,
        job.clone(),
        fetched(&[("7", 15, ids(0, 5))], Some(5), None),
        Timestamp::UNIX_EPOCH,
        None,
    );
    let (rows, hashes) = (page(&job, 1, &ids(0, 5), 1, 1, 5), write.key_hashes);
    assert_eq!((hashes, write.row_hashes), (rows.key_hashes, rows.row_hashes));
    assert_eq!(write.facts, Some(json!({ "sums": { "value": "5" } })));
}
