//! A day that is pulled again and did not change leaves its rows as they are, on a real PostgreSQL.

mod common;

use common::{World, closed, page};
use pagemill_core::Verdict;
use pagemill_store::PageWrite;

impl World {
    async fn pulled(&self, value: impl Fn(i64) -> i64, requested: i64) {
        let job = self.partition(true).await;
        let pages: Vec<PageWrite> = (0..20)
            .map(|n| {
                let ids: Vec<i64> = (n * 10..n * 10 + 10).collect();
                page(&job, n as u32 + 1, &ids, value(n), requested, 200)
            })
            .collect();
        let written = self.store.pages.write(&self.table, &pages).await.unwrap();
        assert!(written.stored.iter().all(|stored| *stored));
        let report = closed(self.seal(job.partition, 0).await);
        assert_eq!(report.verdict, Verdict::Complete);
    }

    async fn text(&self, sql: &str) -> String {
        let (_, rows) = self.store.query(sql).await.unwrap();
        rows[0][0].clone().unwrap_or_default()
    }

    /// Which version of each row is where, and whether it was locked since (which is WAL too); how
    /// large the table and its index are.
    async fn times_stored(&self) -> (String, String) {
        let times_stored =
            "select md5(string_agg(concat(id, ctid, xmin, xmax), ',' order by id)) from test_rows";
        let sizes = "select concat(pg_table_size('test_rows'), ' ', pg_indexes_size('test_rows'))";
        (self.text(times_stored).await, self.text(sizes).await)
    }

    /// Rows whose version is of this run.
    async fn written_by_run(&self, run: i64) -> String {
        self.text(&format!("select count(*) from test_rows where _run = {run}")).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unchanged_day_pulled_again_writes_no_row() {
    let world = World::new().await;
    world.pulled(|page| page, 1).await;
    let before = world.times_stored().await;
    for requested in 2..5 {
        world.pulled(|page| page, requested).await;
        assert_eq!(
            world.times_stored().await,
            before,
            "no row was written or locked, no page and no index grew"
        );
    }
    // What changed, and nothing else, is written.
    world.pulled(|page| if page == 3 { 99 } else { page }, 5).await;
    assert_ne!(world.times_stored().await.0, before.0);
    assert_eq!(world.written_by_run(5).await, "10");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unchanged_day_may_be_pulled_into_months_too() {
    let rules = pagemill_store::StreamRules { monthly: true, ..Default::default() };
    let world = World::ruled(rules).await;
    world.pulled(|page| page, 1).await;
    let before = world.times_stored().await;
    world.pulled(|page| page, 2).await;
    assert_eq!(world.times_stored().await.0, before.0);
}
