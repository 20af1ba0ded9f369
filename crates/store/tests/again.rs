//! A day that is pulled again and did not change leaves its rows as they are, on a real PostgreSQL.

mod common;

use common::{World, closed, page};
use jiff::civil::date;
use pagemill_core::{Lane, Slice, Verdict};
use pagemill_store::{NewPartition, PageWrite, RunPlanRequest};

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

/// What an attempt has staged is nobody's once a pull of more days has superseded it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_superseded_attempt_are_never_applied() {
    let world = World::new().await;
    world.pulled(|_| 1, 1).await;
    let superseded = world.partition(true).await;
    let ids: Vec<i64> = (1_000..1_010).collect();
    let write = page(&superseded, 1, &ids, 7, 2, 20);
    assert_eq!(world.store.pages.write(&world.table, &[write]).await.unwrap().stored, [true]);
    let days = NewPartition {
        slice: Slice { from: date(2026, 1, 14), to: date(2026, 1, 16), ..superseded.slice.clone() },
        row_account: "7".into(),
        date_scope: "within",
        lane: Lane::High,
        page_size: 10,
        subset: None,
        chained: false,
        due_if_requested_before: None,
    };
    let requested = serde_json::json!({ "days": [14, 16] });
    let request = RunPlanRequest { requested, again: true, owner: "test".into() };
    let planned = world.store.runs.plan(&request, &[days]).await.unwrap();
    let newer = planned.open[0].partition.job(1, 0);
    let ids: Vec<i64> = (0..10).collect();
    // A response that was under way is refused.
    let writes = [page(&superseded, 2, &ids, 7, 4, 20), page(&newer, 1, &ids, 3, 3, 10)];
    assert_eq!(world.store.pages.write(&world.table, &writes).await.unwrap().stored, [false, true]);
    assert_eq!(closed(world.seal(newer.partition, 0).await).verdict, Verdict::Complete);
    assert_eq!(world.rows().await, (0..10).map(|id| (id, 3)).collect::<Vec<_>>());
}
