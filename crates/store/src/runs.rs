//! Runs: requests for a set of partitions.

mod pace;
mod preview;
mod slices;
mod status;

use std::time::Duration;

use jiff::Timestamp;
use pagemill_core::{Lane, PageRange, Slice, WriteMode};
use serde_json::Value;

use self::slices::{Decision, SealedPart, read_facts};
pub use self::{
    pace::{Pace, RunPace},
    preview::{PlanDecision, PlanPreview, SlicePreview},
    status::{RunProgress, RunState, RunStatus, Warning},
};
use crate::{
    database::Database,
    error::StoreError,
    partitions::{PARTITION_COLUMNS, PartitionRow, lane_name},
    table::open_months,
};

/// A request for a run.
#[derive(Clone, Debug)]
pub struct RunPlanRequest {
    /// Canonical: equal requests have equal values.
    pub requested: Value,
    /// Pull again what is sealed already.
    pub again: bool,
    /// The producer that plans the run and holds its lease.
    pub owner: String,
}

/// A partition to be opened.
#[derive(Clone, Debug)]
pub struct NewPartition {
    /// Stream × account × dates.
    pub slice: Slice,
    /// The account as the table's rows name it: [`pagemill_core::TableShape::row_account`].
    pub row_account: String,
    /// Which rows of the table are the slice's: [`pagemill_core::DateScope::name`].
    pub date_scope: &'static str,
    /// The lane of its pages.
    pub lane: Lane,
    /// Rows a page.
    pub page_size: u32,
    /// Only these pages.
    pub subset: Option<PageRange>,
    /// True if each page names the next, or there is but one page.
    pub chained: bool,
    /// A seal of requests before this is not the last word.
    pub due_if_requested_before: Option<Timestamp>,
}

/// The result of planning.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The run; `None` when nothing is due.
    pub run: Option<i64>,
    /// True if an unfinished run of the same request is continued.
    pub continued: bool,
    /// Another producer that holds the run's lease: leave it to that one.
    pub lease_holder: Option<String>,
    /// The run's open partitions.
    pub open: Vec<Opened>,
    /// Slices that are sealed already.
    pub sealed: Vec<Sealed>,
}

/// A slice that needs no pull.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Which.
    pub slice: Slice,
    /// The run that opened the sealed partition.
    pub run: i64,
    /// When it was sealed, for people.
    pub at: String,
}

/// An open partition of a run.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The partition.
    pub partition: PartitionRow,
    /// Opened by another run, and waited for.
    pub adopted: bool,
}

impl Planned {
    /// The sealed slice of the newest run.
    pub fn newest_sealed(&self) -> Option<&Sealed> {
        self.sealed.iter().max_by_key(|s| s.run)
    }
}

/// Held to the end of a transaction that opens partitions.
pub(crate) const PLAN_LOCK: &str = "select pg_advisory_xact_lock(hashtext('pagemill.plan'))";

/// The runs of the ledger.
#[derive(Clone)]
pub struct Runs {
    database: Database,
}

impl Runs {
    /// Duration of a run's lease: renew the lease well within.
    pub const LEASE: Duration = Duration::from_secs(30);

    pub(crate) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Records a run and opens its partitions, or continues the unfinished run of the same request.
    /// An open attempt that contains a slice is adopted, one that it contains is superseded; a slice that is sealed is
    /// left alone unless requested again.
    pub async fn plan(
        &self,
        request: &RunPlanRequest,
        wanted: &[NewPartition],
    ) -> Result<Planned, StoreError> {
        open_months(&self.database, wanted.iter().map(|w| &w.slice)).await?;
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        // One plan at a time: two cron ticks must not both find nothing and both begin.
        tx.batch_execute(PLAN_LOCK).await?;
        tx.batch_execute("select pagemill.open_month(current_date)").await?;

        let (continued, lease_holder) = unfinished(&tx, request).await?.unzip();
        let lease_holder: Option<String> = lease_holder.flatten();

        let Wanted { sealed, due, superseded, mut adopt } = match continued {
            Some(_) => Wanted::default(),
            None => Wanted::sort(&tx, request, wanted).await?,
        };
        supersede(&tx, &superseded).await?;
        let run = match continued {
            Some(run) => Some(run),
            None if due.is_empty() && adopt.is_empty() => None,
            None => Some(
                tx.query_one(
                    "insert into pagemill.runs (request) values ($1) returning id",
                    &[&request.requested],
                )
                .await?
                .get("id"),
            ),
        };
        if let Some(run) = run {
            for (partition, write_mode) in due {
                adopt.push(open(&tx, run, partition, write_mode).await?);
            }
            tx.execute(
                "insert into pagemill.run_partitions select $1, unnest($2::bigint[]) on conflict do nothing",
                &[&run, &adopt],
            )
            .await?;
            if lease_holder.is_none() {
                tx.execute(
                    "update pagemill.runs set lease_owner = $2, lease_until = now() + make_interval(secs => $3) where id = $1",
                    &[&run, &request.owner, &Self::LEASE.as_secs_f64()],
                )
                .await?;
            }
        }
        let open = match run {
            Some(run) => open_partitions(&tx, run).await?,
            None => Vec::new(),
        };
        tx.commit().await?;
        Ok(Planned { run, continued: continued.is_some(), lease_holder, open, sealed })
    }

    /// Prolongs the lease of a run; false when another producer has taken it.
    pub async fn renew_lease(&self, run: i64, owner: &str) -> Result<bool, StoreError> {
        let client = self.database.client().await?;
        let renewed = client
            .execute(
                "update pagemill.runs set lease_until = now() + make_interval(secs => $3) where id = $1 and lease_owner = $2",
                &[&run, &owner, &Self::LEASE.as_secs_f64()],
            )
            .await?;
        Ok(renewed > 0)
    }

    /// Releases the lease: the producer has published all there is to publish.
    pub async fn release_lease(&self, run: i64, owner: &str) -> Result<(), StoreError> {
        let client = self.database.client().await?;
        client
            .execute(
                "update pagemill.runs set lease_until = null where id = $1 and lease_owner = $2",
                &[&run, &owner],
            )
            .await?;
        Ok(())
    }
}

/// Wanted partitions by what planning does with them.
#[derive(Default)]
struct Wanted<'a> {
    sealed: Vec<Sealed>,
    due: Vec<(&'a NewPartition, WriteMode)>,
    superseded: Vec<i64>,
    adopt: Vec<i64>,
}

impl<'a> Wanted<'a> {
    async fn sort(
        tx: &deadpool_postgres::Transaction<'_>,
        request: &RunPlanRequest,
        wanted: &'a [NewPartition],
    ) -> Result<Self, StoreError> {
        loop {
            let sorted = Self::sort_once(tx, request, wanted).await?;
            // One that is proved meanwhile is not superseded.
            let sql = "select id from pagemill.partitions where id = any($1) and state = 'open' order by id for update";
            if tx.query(sql, &[&sorted.superseded]).await?.len() == sorted.superseded.len() {
                return Ok(sorted);
            }
        }
    }

    async fn sort_once(
        tx: &deadpool_postgres::Transaction<'_>,
        request: &RunPlanRequest,
        wanted: &'a [NewPartition],
    ) -> Result<Self, StoreError> {
        let mut sorted = Self::default();
        for (partition, facts) in wanted.iter().zip(read_facts(tx, wanted).await?) {
            match facts.decide(partition, request.again) {
                Decision::Adopt(attempt) => sorted.adopt.push(attempt),
                Decision::Pull(write_mode, superseded) => {
                    sorted.due.push((partition, write_mode));
                    sorted.superseded.extend(superseded);
                }
                Decision::Sealed => {
                    let Some(SealedPart { run, at, .. }) = facts.sealed else { continue };
                    let at = at.strftime("%F %T UTC").to_string();
                    sorted.sealed.push(Sealed { slice: partition.slice.clone(), run, at });
                }
            }
        }
        sorted.superseded.sort_unstable();
        sorted.superseded.dedup();
        sorted.adopt.sort_unstable();
        sorted.adopt.dedup();
        Ok(sorted)
    }
}

/// The unfinished run of the same request, and the other producer that holds its lease.
pub(super) async fn unfinished(
    tx: &deadpool_postgres::Transaction<'_>,
    request: &RunPlanRequest,
) -> Result<Option<(i64, Option<String>)>, StoreError> {
    let row = tx
        .query_opt(
            "select r.id, case when r.lease_until > now() and r.lease_owner <> $2 then r.lease_owner end as lease_holder from pagemill.runs r \
             where r.request = $1 and exists (select from pagemill.run_partitions rp \
                 join pagemill.partitions p on p.id = rp.partition where rp.run = r.id and p.state in ('open', 'proved')) \
             order by r.id desc limit 1",
            &[&request.requested, &request.owner],
        )
        .await?;
    Ok(row.map(|r| (r.get("id"), r.get("lease_holder"))))
}

/// Closes open attempts in favour of those that contain their slices.
async fn supersede(tx: &deadpool_postgres::Transaction<'_>, attempts: &[i64]) -> Result<(), StoreError> {
    tx.execute(
        "update pagemill.partitions set state = 'incomplete', reason = 'superseded by a newer run', closed_at = now() \
         where coalesce(root, id) = any($1) and state in ('open', 'proved')",
        &[&attempts],
    )
    .await?;
    Ok(())
}

async fn open(
    tx: &deadpool_postgres::Transaction<'_>,
    run: i64,
    p: &NewPartition,
    write_mode: WriteMode,
) -> Result<i64, StoreError> {
    let statement = tx
        .prepare_cached(
            "insert into pagemill.partitions (run, source, stream, account, from_date, to_date, lane, page_size, subset_first, subset_last, chained, \
                 row_account, date_scope, write_mode) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) returning id",
        )
        .await?;
    let first = p.subset.map(|s| s.first as i32);
    let last = p.subset.map(|s| i32::try_from(s.last).unwrap_or(i32::MAX));
    let s = &p.slice;
    let row = tx
        .query_one(
            &statement,
            &[
                &run,
                &s.source,
                &s.stream,
                &s.account,
                &s.from,
                &s.to,
                &lane_name(p.lane),
                &(p.page_size as i32),
                &first,
                &last,
                &p.chained,
                &p.row_account,
                &p.date_scope,
                &write_mode.name(),
            ],
        )
        .await?;
    Ok(row.get("id"))
}

async fn open_partitions(
    tx: &deadpool_postgres::Transaction<'_>,
    run: i64,
) -> Result<Vec<Opened>, StoreError> {
    let sql = format!(
        "select {PARTITION_COLUMNS} from pagemill.run_partitions rp join pagemill.partitions p on p.id = rp.partition \
         where rp.run = $1 and p.state = 'open' order by p.id"
    );
    let rows = tx.query(&sql, &[&run]).await?;
    Ok(rows
        .iter()
        .map(|r| {
            let partition = PartitionRow::from_row(r);
            Opened { adopted: partition.run != run, partition }
        })
        .collect())
}
