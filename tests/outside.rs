//! Reports that bring rows of another day: what is sealed of that day stands.

use pagemill_simulator::{SimulatorConfig, TRUTH_SQL, truth_digest};
use serde_json::Value;

use crate::world::{ACCOUNT, DAY, Output, World, count, run};

const NEXT_DAY: &str = "2026-01-16";

impl World {
    async fn producer_of_the_next_day(&self) -> Output {
        run(self.command("pagemill-producer", &["--date", NEXT_DAY, "--wait"])).await
    }

    async fn assert_truth_of(&self, day: &str) {
        let table = format!("{}_creative", self.source);
        let sql = TRUTH_SQL.replace("{table}", &table).replace("{where}", &format!("time = '{day}'"));
        let digest: String = self.db().await.query_one(&sql, &[]).await.unwrap().get(0);
        assert_eq!(digest, truth_digest(&self.simulated, ACCOUNT, day.parse().unwrap()), "{day}");
    }

    /// The newest run's only partition, as `verify --json` prints it, and the exit code.
    async fn verified(&self, exit_code: i32) -> Value {
        let run = self.status().await["run"].as_str().unwrap().to_owned();
        self.pagemill(&["verify", &run, "--json"]).await.exits(exit_code).json()
    }
}

/// The 16th's report begins with rows of the 15th, with other numbers than the 15th's own report has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_neighbour_day_never_overwrite_it() {
    let world = World::with(SimulatorConfig { rows: 500, ..SimulatorConfig::default() }, "").await;
    let _consumer = world.consumer();
    world.producer(&["--wait"]).await.ok();
    world.assert_sealed_truth().await;
    let sealed_run = world.status().await["run"].as_str().unwrap().to_owned();

    world.simulator.set_fault("neighbour_day=0.01".parse().unwrap());
    world.producer_of_the_next_day().await.exits(3);
    let reason = "5 rows of other days or accounts, such as time 2026-01-15, were not stored";
    world.pagemill(&["status", "2"]).await.ok().prints(&[reason, "outside = \"drop\""]);
    assert_eq!(world.verified(3).await["state"], "incomplete");
    world.assert_truth_of(DAY).await;
    world.pagemill(&["verify", &sealed_run]).await.ok();
    let db = world.db().await;
    assert_eq!(count(&db, "select max(repair_rounds)::bigint from pagemill.partitions").await, 0);

    let api = world.simulator.url();
    let check = [
        "sources",
        "check",
        "xiaohongshu",
        "--live",
        "--stream",
        "creative",
        "--account",
        ACCOUNT,
        "--date",
        NEXT_DAY,
        "--token-env",
        "TEST_TOKEN",
        "--base-url",
        &api,
    ];
    let outside = "rows of other days or accounts, which are never stored: 5, such as time 2026-01-15";
    world.pagemill(&check).await.ok().prints(&[outside]);

    // The API's sums count the dropped rows too.
    drop(_consumer);
    world.configure("", "outside = \"drop\"");
    let _consumer = world.consumer();
    world.producer_of_the_next_day().await.ok();
    let verified = world.verified(0).await;
    assert_eq!(
        (&verified["total"], &verified["table_keys"], &verified["dropped_rows"]),
        (&505.into(), &500.into(), &5.into())
    );
    assert_eq!(
        verified["warnings"],
        serde_json::json!(["5 rows of other days or accounts were dropped, such as time 2026-01-15"])
    );
    for day in [DAY, NEXT_DAY] {
        world.assert_truth_of(day).await;
    }
    world.pagemill(&["verify", &sealed_run]).await.ok();
}

/// Given pages of such a report: they are incomplete for the rows, not only as a subset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subset_names_rows_of_a_neighbour_day() {
    let faults = vec!["neighbour_day=0.01".parse().unwrap()];
    let world = World::with(SimulatorConfig { rows: 500, faults, ..SimulatorConfig::default() }, "").await;
    let _consumer = world.consumer();
    world.producer(&["--pages", "1-2", "--wait"]).await.exits(3);
    world.pagemill(&["status", "1"]).await.ok().prints(&["5 rows of other days or accounts"]);
    assert_eq!(
        count(&world.db().await, &format!("select count(*) from {}_creative", world.source)).await,
        195
    );
    world.producer(&["--pages", "3-4", "--wait"]).await.ok();
    world.pagemill(&["status", "2"]).await.ok().prints(&["subset"]);
}
