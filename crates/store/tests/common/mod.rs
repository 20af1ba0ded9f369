//! A database of its own for each test, with one table of a stream.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::{Duration, SystemTime},
};

use jiff::{SignedDuration, Timestamp, civil::date};
use pagemill_core::{Column, ColumnShape, DateScope, Kind, Lane, PageJob, Rows, Slice, TableShape, Verdict};
use pagemill_store::{
    Applied, DataTable, NewPartition, Next, PageWrite, ProofReport, Proving, RunPlanRequest, SealReport,
    Store, StoreConfig, StreamRules,
};
use tokio_postgres::NoTls;

fn server() -> String {
    std::env::var("PAGEMILL_TEST_POSTGRES_URL")
        .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".into())
}

async fn admin() -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&server(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A name that no other test has, not even one of a run that was killed: the time, and a random number.
fn unique_name() -> String {
    let random = RandomState::new().build_hasher().finish() as u32;
    format!("pagemill_store_{:08x}_{random:08x}", seconds())
}

fn seconds() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// Drops databases that runs left which were killed at least an hour ago. One in use stays.
async fn drop_leftovers(admin: &tokio_postgres::Client) {
    let oldest = format!("pagemill_store_{:08x}", seconds() - 3_600);
    let sql = "select datname::text from pg_database where datname ~ '^pagemill_store_[0-9a-f]{8}_[0-9a-f]{8}$' and datname < $1";
    for row in admin.query(sql, &[&oldest]).await.unwrap() {
        let _ = admin.batch_execute(&format!("drop database if exists {}", row.get::<_, String>(0))).await;
    }
}

/// A database of its own, gone when the test ends well or badly.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) table: DataTable,
    database: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::ruled(StreamRules::default()).await
    }

    pub(crate) async fn ruled(rules: StreamRules) -> Self {
        let database = unique_name();
        let admin = admin().await;
        drop_leftovers(&admin).await;
        admin.batch_execute(&format!("create database {database}")).await.unwrap();
        let url = format!("{}/{database}", server().rsplit_once('/').unwrap().0);
        let config = StoreConfig { url: url.into(), schema: "public".into(), connections: 10 };
        let store = Store::connect(&config).await.unwrap();
        let table = DataTable::new(store.schema(), "test", "rows", &shape()).unwrap().ruled(rules);
        store.migrate(std::slice::from_ref(&table)).await.unwrap();
        Self { store, table, database }
    }

    /// Opens a partition of pages of 10 rows; the job of its first page.
    pub(crate) async fn partition(&self, again: bool) -> PageJob {
        let slice = Slice {
            source: "test".into(),
            stream: "rows".into(),
            account: "7".into(),
            from: date(2026, 1, 15),
            to: date(2026, 1, 15),
            part: Default::default(),
        };
        let wanted = NewPartition {
            slice,
            row_account: "7".into(),
            date_scope: "within",
            lane: Lane::High,
            page_size: 10,
            subset: None,
            chained: self.table.is_chained(),
            due_if_requested_before: None,
        };
        let requested = serde_json::json!({ "again": again });
        let request = RunPlanRequest { requested, again, owner: "test".into() };
        let planned = self.store.runs.plan(&request, &[wanted]).await.unwrap();
        planned.open[0].partition.job(1, 0)
    }

    /// Proves a partition that has ended; a whole one that is proved is applied, and must be sealed then.
    pub(crate) async fn seal(&self, partition: i64, rounds: u32) -> Option<Proving> {
        let proving = self.store.seals.prove(partition, Some(&self.table), rounds).await.unwrap();
        if let Some(Proving::Ended(ProofReport { verdict: Verdict::Complete, partition, .. })) = &proving
            && partition.parent.is_none()
        {
            self.apply(partition.id).await;
        }
        proving
    }

    /// Applies a proved partition, which must be sealed then.
    pub(crate) async fn apply(&self, partition: i64) -> SealReport {
        let store = &self.store.seals;
        match store.apply(&self.table, partition, Duration::from_secs(60)).await.unwrap() {
            Some(Applied::Sealed(report)) => {
                store.record_digest(&self.table, partition).await.unwrap();
                store.clear_staged(&self.table, partition).await.unwrap();
                report
            }
            other => panic!("not sealed: {other:?}"),
        }
    }

    pub(crate) async fn connect(&self) -> tokio_postgres::Client {
        let url = format!("{}/{}", server().rsplit_once('/').unwrap().0, self.database);
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.connect().await.batch_execute(sql).await.unwrap();
    }

    /// The table with a column more.
    pub(crate) fn wider(&self) -> DataTable {
        let mut shape = shape();
        shape.columns.push(ColumnShape { name: "more".into(), kind: Kind::Text, key: false });
        let rules = StreamRules { monthly: true, ..StreamRules::default() };
        DataTable::new(self.store.schema(), "test", "rows", &shape).unwrap().ruled(rules)
    }

    pub(crate) async fn count(&self, from: &str) -> i64 {
        let (_, rows) = self.store.query(&format!("select count(*) from {from}")).await.unwrap();
        rows[0][0].as_ref().unwrap().parse().unwrap()
    }

    pub(crate) async fn rows(&self) -> Vec<(i64, i64)> {
        let (_, rows) = self.store.query("select id, value from test_rows order by id").await.unwrap();
        let number = |v: &Option<String>| v.as_ref().unwrap().parse().unwrap();
        rows.iter().map(|r| (number(&r[0]), number(&r[1]))).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let database = self.database.clone();
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let drop = format!("drop database if exists {database} with (force)");
            runtime.block_on(async { admin().await.batch_execute(&drop).await })
        });
        let _ = cleaning.join();
    }
}

fn shape() -> TableShape {
    let column = |name: &str, kind, key| ColumnShape { name: name.into(), kind, key };
    TableShape {
        name: "test_rows".into(),
        columns: vec![
            column("account", Kind::Text, true),
            column("day", Kind::Date, true),
            column("id", Kind::Bigint, true),
            column("value", Kind::Bigint, false),
        ],
        account: Some("account".into()),
        dates: DateScope::Within("day".into()),
    }
}

/// A page with these ids, all of one value, requested so many seconds after the epoch.
pub(crate) fn page(
    job: &PageJob,
    number: u32,
    ids: &[i64],
    value: i64,
    requested: i64,
    total: u64,
) -> PageWrite {
    let mut account = Column::with_capacity(Kind::Text, ids.len());
    if let Column::Text(texts) = &mut account {
        ids.iter().for_each(|_| texts.push(Some("7")));
    }
    let columns = vec![
        account,
        Column::Date(vec![Some(date(2026, 1, 15)); ids.len()]),
        Column::Bigint(ids.iter().map(|id| Some(*id)).collect()),
        Column::Bigint(vec![Some(value); ids.len()]),
    ];
    PageWrite { total: Some(total), ..page_of(job, number, Rows::new(ids.len(), columns), requested) }
}

fn page_of(job: &PageJob, number: u32, rows: Rows, requested: i64) -> PageWrite {
    PageWrite {
        job: job.at(number, 0),
        key_hashes: rows.key_hashes(&[0, 1, 2]),
        row_hashes: rows.row_hashes(),
        rows,
        total: None,
        next: Next::Numbered,
        facts: None,
        request_id: None,
        requested_at: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(requested),
        body: None,
        cast_failures: vec![],
        body_digest: None,
        unchanged: None,
    }
}

/// The report of a partition that must have ended now.
pub(crate) fn closed(proving: Option<Proving>) -> ProofReport {
    match proving {
        Some(Proving::Ended(report)) => report,
        other => panic!("not closed: {other:?}"),
    }
}

/// The pages ordered anew: number and generation.
pub(crate) fn repair(proving: Option<Proving>) -> Vec<(u32, u32)> {
    match proving {
        Some(Proving::Repair(order, _)) => order.jobs.iter().map(|j| (j.page, j.generation)).collect(),
        other => panic!("no repair: {other:?}"),
    }
}

pub(crate) fn reason(report: ProofReport) -> String {
    match report.verdict {
        Verdict::Incomplete(reason) => reason.to_string(),
        Verdict::Complete => panic!("complete"),
    }
}
