//! Data tables partitioned by month work like any other, on a real PostgreSQL.

mod common;

use common::{World, closed, page};
use jiff::civil::date;
use pagemill_core::{Slice, Verdict};
use pagemill_store::{PageWrite, StoreErrorKind, StreamRules};

fn ids(from: i64, to: i64) -> Vec<i64> {
    (from..to).collect()
}

async fn monthly(keeps_missing: bool) -> World {
    World::ruled(StreamRules { monthly: true, keeps_missing, ..StreamRules::default() }).await
}

impl World {
    async fn text(&self, sql: &str) -> String {
        let (_, rows) = self.store.query(sql).await.unwrap();
        rows[0][0].clone().unwrap_or_default()
    }

    async fn pulled(&self, of: &[i64], value: i64, requested: i64) -> i64 {
        let job = self.partition(true).await;
        let pages: Vec<PageWrite> = (of.chunks(10).zip(1..))
            .map(|(ids, number)| page(&job, number, ids, value, requested, of.len() as u64))
            .collect();
        self.store.pages.write(&self.table, &pages).await.unwrap();
        let report = closed(self.seal(job.partition, 0).await);
        assert_eq!(report.verdict, Verdict::Complete);
        job.partition
    }

    async fn assert_agrees(&self, partition: i64) {
        let partition = self.store.partitions.get(partition).await.unwrap();
        let recount = self.store.seals.recount(&self.table, &partition).await.unwrap();
        assert!(recount.agrees(), "{recount:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_lie_in_the_month_that_planning_opened() {
    let world = monthly(false).await;
    let first = world.pulled(&ids(0, 25), 1, 1).await;
    let place = "select string_agg(distinct tableoid::regclass::text, ',') from test_rows";
    assert_eq!(world.text(place).await, "test_rows_202601");
    world.assert_agrees(first).await;
    // Rows are overwritten, and deleted when they no longer come.
    let second = world.pulled(&ids(5, 30), 2, 2).await;
    world.assert_agrees(second).await;
    assert_eq!(world.rows().await, (5..30).map(|id| (id, 2)).collect::<Vec<_>>());
    assert_eq!(world.text("select count(*) from test_rows_sealed").await, "25");
    world.assert_agrees(second).await;
    assert_eq!(world.text(place).await, "test_rows_202601");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_came_before_their_month_move_into_it() {
    let world = monthly(false).await;
    world
        .execute(
            "insert into test_rows select '7', d, 1, 1, 1, 1, now() from unnest(array['2026-02-28', '2026-03-01']::date[]) as d",
        )
        .await;
    let slice = |from, to| Slice {
        source: "test".into(),
        stream: "rows".into(),
        account: "7".into(),
        from,
        to,
        part: Default::default(),
    };
    let winter = slice(date(2025, 12, 31), date(2026, 2, 1));
    for _ in 0..2 {
        world.store.open_months([&winter]).await.unwrap();
    }
    let places = "select string_agg(tableoid::regclass::text, ',' order by day) from test_rows";
    assert_eq!(world.text(places).await, "test_rows_202602,test_rows_default");
    let months = "select string_agg(inhrelid::regclass::text, ',' order by 1) from pg_inherits where inhparent = 'test_rows'::regclass";
    let all = "test_rows_202512,test_rows_202601,test_rows_202602,test_rows_default";
    assert_eq!(world.text(&months.replace("order by 1", "order by inhrelid::regclass::text")).await, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_more_reaches_all_months() {
    let world = monthly(false).await;
    world.pulled(&ids(0, 5), 1, 1).await;
    let wider = world.wider();
    let migrated = world.store.migrate(std::slice::from_ref(&wider)).await.unwrap();
    assert_eq!(migrated.changes, ["added column \"more\" to \"public\".\"test_rows\""]);
    world.store.check_schema(&[wider]).await.unwrap();
    assert_eq!(world.text("select count(*) - count(more) from test_rows_202601").await, "5");
    assert_eq!(world.text("select count(*) - count(more) from test_rows_sealed").await, "5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_there_stays_as_it_is() {
    let world = World::new().await;
    let partitioned = world.table.clone().ruled(StreamRules { monthly: true, ..StreamRules::default() });
    let error = world.store.migrate(std::slice::from_ref(&partitioned)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Schema);
    assert!(error.to_string().contains("is not partitioned by the months of \"day\""), "{error}");
    assert!(world.store.check_schema(&[partitioned]).await.is_err());
    world.pulled(&ids(0, 5), 1, 1).await;
}

/// Without the option the table stays partitioned, and goes on being filled by months.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_option_may_be_taken_away() {
    let world = monthly(false).await;
    let plain = world.table.clone().ruled(StreamRules::default());
    world.store.migrate(std::slice::from_ref(&plain)).await.unwrap();
    world.store.check_schema(&[plain]).await.unwrap();
    world.pulled(&ids(0, 5), 1, 1).await;
    assert_eq!(world.text("select count(*) from test_rows_202601").await, "5");
}
