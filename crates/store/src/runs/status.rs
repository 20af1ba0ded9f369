use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::Runs;
use crate::{
    error::StoreError,
    error::none_found,
    partitions::{PARTITION_COLUMNS, PartitionRow},
};

/// A run summed up from its partitions and pages. The JSON of `status --json`, and the last line of
/// `run --json` and `pagemill-producer --wait --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunStatus {
    /// Id in `pagemill.runs`.
    pub run: String,
    /// Partitions it waits for.
    pub partitions: i64,
    /// Sealed among them.
    pub sealed: i64,
    /// Closed without a seal.
    pub incomplete: i64,
    /// Pages done.
    pub pages: i64,
    /// Rows in the done pages.
    pub rows: i64,
    /// Pages dead.
    pub dead: i64,
    /// Requests whose response is known.
    pub requests: i64,
    /// Throttled among them.
    pub throttled: i64,
    /// From the first partition's opening to the last one's end, or to now.
    pub seconds: f64,
    /// Warnings on the seals: what is odd about the data although it is complete.
    pub warnings: i64,
    /// Whether it goes on, and how it ended.
    pub state: RunState,
    /// Pages planned, as far as totals are known.
    #[serde(skip)]
    pub planned_pages: i64,
    /// Rows stated by the API, as far as known.
    #[serde(skip)]
    pub total: i64,
    /// When the run was made, RFC 3339.
    #[serde(skip)]
    pub created_at: String,
    /// True if all that is missing was not requested: every incomplete partition is a subset.
    #[serde(skip)]
    pub only_subsets: bool,
}

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// A partition of it is open.
    Running,
    /// All its partitions are sealed.
    Complete,
    /// A partition of it was closed without a seal.
    Incomplete,
}

impl Display for RunState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
        })
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunProgress {
    /// Pages done or dead.
    pub ended_pages: u64,
    /// Pages planned, as far as totals are known.
    pub planned_pages: u64,
    /// Partitions that are still open.
    pub open_partitions: u64,
}

/// `{runs}` are conditions and order of the runs. What is summed is looked up partition by partition,
/// so that its cost is the run's own, however large the ledger.
const STATUS: &str = "select r.id::text as run, rp.partitions, rp.sealed, rp.incomplete, rp.pages::bigint as pages, \
        coalesce(g.rows, 0)::bigint as rows, rp.dead::bigint as dead, \
        coalesce(g.requests, 0)::bigint as requests, coalesce(g.throttled, 0)::bigint as throttled, \
        extract(epoch from (case when rp.open > 0 then now() else rp.closed_at end) - greatest(rp.opened_at, r.created_at))::float8 as seconds, \
        rp.open > 0 as is_running, \
        (select coalesce(sum(jsonb_array_length(p.proof->'warnings')), 0)::bigint from pagemill.run_partitions x \
            join pagemill.partitions p on p.id = x.partition where x.run = r.id and p.proof ? 'warnings') as warnings, \
        rp.planned_pages::bigint as planned_pages, rp.total::bigint as total, to_char(r.created_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as created_at, \
        (select coalesce(bool_and(p.state <> 'incomplete' or p.reason = 'subset'), true) from pagemill.run_partitions x \
            join pagemill.partitions p on p.id = x.partition where x.run = r.id) as only_subsets \
    from (select * from pagemill.runs where {runs}) r \
    cross join lateral (select * from pagemill.run_progress rp where rp.run = r.id) rp \
    left join lateral (select sum(coalesce((p.pruned->>'rows')::bigint, g.rows)) filter (where p.parts is null) as rows, \
            sum(coalesce((p.pruned->>'requests')::bigint, g.requests)) as requests, \
            sum(coalesce((p.pruned->>'throttled')::bigint, g.throttled)) as throttled \
        from pagemill.run_partitions x join pagemill.partitions p on coalesce(p.root, p.id) = x.partition \
        cross join lateral (select sum(g.rows) filter (where g.state = 'done') as rows, sum(g.requests) as requests, sum(g.throttled) as throttled \
            from pagemill.pages g where g.partition = p.id) g \
        where x.run = r.id) g on true order by r.id desc";

impl Runs {
    /// One run.
    ///
    /// # Errors
    /// [`crate::error::StoreErrorKind::Invalid`] if there is none with this id.
    pub async fn status(&self, run: i64) -> Result<RunStatus, StoreError> {
        let client = self.database.client().await?;
        let statement = client.prepare_cached(&STATUS.replace("{runs}", "id = $1")).await?;
        let row = client.query_opt(&statement, &[&run]).await?;
        row.map(|r| from_row(&r)).ok_or_else(|| none_found(&format!("run {run}")))
    }

    /// The newest runs, newest first.
    pub async fn recent(&self, most: i64) -> Result<Vec<RunStatus>, StoreError> {
        let client = self.database.client().await?;
        let rows =
            client.query(&STATUS.replace("{runs}", "true order by id desc limit $1"), &[&most]).await?;
        Ok(rows.iter().map(from_row).collect())
    }

    /// The progress of a run, from its partitions' counters: no page row is read.
    ///
    /// # Errors
    /// [`crate::error::StoreErrorKind::Invalid`] if there is no such run.
    pub async fn progress(&self, run: i64) -> Result<RunProgress, StoreError> {
        let client = self.database.client().await?;
        let statement = client
            .prepare_cached("select (pages + dead)::bigint as ended, planned_pages::bigint as planned_pages, open from pagemill.run_progress where run = $1")
            .await?;
        let row =
            client.query_opt(&statement, &[&run]).await?.ok_or_else(|| none_found(&format!("run {run}")))?;
        let count = |name| row.get::<_, i64>(name) as u64;
        Ok(RunProgress {
            ended_pages: count("ended"),
            planned_pages: count("planned_pages"),
            open_partitions: count("open"),
        })
    }
}

/// A warning on a partition's seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which partition, in words.
    pub slice: String,
    /// The warning.
    pub text: String,
}

impl Runs {
    /// The warnings on the seals of a run's partitions.
    pub async fn warnings(&self, run: i64) -> Result<Vec<Warning>, StoreError> {
        let client = self.database.client().await?;
        let sql = format!(
            "select {PARTITION_COLUMNS}, w.text from pagemill.run_partitions rp join pagemill.partitions p on p.id = rp.partition \
             cross join lateral jsonb_array_elements_text(p.proof->'warnings') as w(text) where rp.run = $1 order by p.id"
        );
        let rows = client.query(&sql, &[&run]).await?;
        let warning = |r| Warning { slice: PartitionRow::from_row(r).slice.to_string(), text: r.get("text") };
        Ok(rows.iter().map(warning).collect())
    }
}

fn from_row(row: &tokio_postgres::Row) -> RunStatus {
    RunStatus {
        run: row.get("run"),
        partitions: row.get("partitions"),
        sealed: row.get("sealed"),
        incomplete: row.get("incomplete"),
        pages: row.get("pages"),
        rows: row.get("rows"),
        dead: row.get("dead"),
        requests: row.get("requests"),
        throttled: row.get("throttled"),
        seconds: (row.get::<_, Option<f64>>("seconds").unwrap_or(0.0).max(0.0) * 1000.0).round() / 1000.0,
        state: match row.get::<_, i64>("incomplete") {
            _ if row.get("is_running") => RunState::Running,
            0 => RunState::Complete,
            _ => RunState::Incomplete,
        },
        warnings: row.get("warnings"),
        planned_pages: row.get("planned_pages"),
        total: row.get("total"),
        created_at: row.get("created_at"),
        only_subsets: row.get("only_subsets"),
    }
}
