//! Pages: started, stored, failed.

mod baseline;
mod following;
mod occupied;
mod write;

use deadpool_postgres::Object;
use pagemill_core::{Failure, PageJob};

pub use self::{baseline::BaselinePage, following::Following, write::Written};
use self::{baseline::BaselinePages, occupied::Occupied};
use crate::{
    database::Database,
    error::StoreError,
    partitions::{PROGRESS_COLUMNS, Progress},
};

/// What the ledger says when a job that may be a copy is about to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageStart {
    /// Fetch it.
    Fetch {
        /// It is suspected of killing its process: run it alone.
        suspected: bool,
    },
    /// It killed its process too often while it ran alone.
    Poisoned {
        /// Crashes while alone.
        crashes: u32,
    },
    /// No request is to be sent for it.
    Unwanted(Unwanted),
}

/// Why the ledger wants no request for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwanted {
    /// The page is done; what follows from that must be ensured before the ack.
    Done(Progress),
    /// The page is dead; the dead-letter queue must have it before the ack.
    Dead(Progress),
    /// The job is of an older generation, or of a partition that is closed.
    Obsolete,
    /// The ledger does not know the partition.
    UnknownPartition,
}

/// A page that has a row in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownPage {
    /// Its number.
    pub page: u32,
    /// Its current generation.
    pub generation: u32,
    /// True if it is done or dead.
    pub has_ended: bool,
}

/// What the ledger has of a job.
enum LedgerPage {
    Wanted { starts: i32, alone_starts: i32 },
    Unwanted(Unwanted),
}

/// After so many starts without an outcome a page runs alone in its process.
const SUSPICIOUS_STARTS: i32 = 2;

/// The pages of the ledger, and their rows.
#[derive(Clone)]
pub struct Pages {
    database: Database,
    occupied: Occupied,
    baseline_pages: BaselinePages,
    /// True if the database can COPY.
    copies: bool,
}

impl Pages {
    /// `copies`: true if the database can COPY.
    pub(crate) fn new(database: &Database, copies: bool) -> Self {
        Self {
            database: database.clone(),
            occupied: Occupied::default(),
            baseline_pages: BaselinePages::default(),
            copies,
        }
    }

    /// The same pages with nothing remembered.
    pub(crate) fn restarted(&self) -> Self {
        Self::new(&self.database, self.copies)
    }

    /// Looks a job up in the ledger before a request is sent for it. If the job is `redelivered`, its start is
    /// counted: it may have killed the process that had it before. After two such starts without an outcome
    /// the page is suspected. After `attempts_allowed` crashes while it ran alone it is poisoned.
    pub async fn start(
        &self,
        job: &PageJob,
        redelivered: bool,
        attempts_allowed: u32,
    ) -> Result<PageStart, StoreError> {
        let client = self.database.client().await?;
        let (starts, alone_starts) = match read(&client, job).await? {
            LedgerPage::Wanted { starts, alone_starts } => (starts, alone_starts),
            LedgerPage::Unwanted(reason) => return Ok(PageStart::Unwanted(reason)),
        };
        if alone_starts >= attempts_allowed as i32 {
            return Ok(PageStart::Poisoned { crashes: alone_starts as u32 });
        }
        let suspected = starts >= SUSPICIOUS_STARTS;
        if redelivered && !suspected {
            let mark = client
                .prepare_cached(
                    "insert into pagemill.pages as g (partition, page, generation, state, starts) values ($1, $2, $3, 'planned', 1) \
                     on conflict (partition, page) do update set starts = g.starts + 1 \
                     where g.generation = excluded.generation and g.state not in ('done', 'dead')",
                )
                .await?;
            client.execute(&mark, &[&job.partition, &(job.page as i32), &(job.generation as i32)]).await?;
        }
        Ok(PageStart::Fetch { suspected })
    }

    /// Why the ledger wants no request for a job; `None` if it wants the page.
    pub async fn look_up(&self, job: &PageJob) -> Result<Option<Unwanted>, StoreError> {
        let client = self.database.client().await?;
        Ok(match read(&client, job).await? {
            LedgerPage::Wanted { .. } => None,
            LedgerPage::Unwanted(reason) => Some(reason),
        })
    }

    /// Counts the start of a suspected page that runs alone in its process. A crash from here on is the page's.
    pub async fn start_alone(&self, job: &PageJob) -> Result<(), StoreError> {
        let client = self.database.client().await?;
        client
            .execute(
                "update pagemill.pages set alone_starts = alone_starts + 1 where partition = $1 and page = $2 and generation = $3",
                &[&job.partition, &(job.page as i32), &(job.generation as i32)],
            )
            .await?;
        Ok(())
    }

    /// The pages of a partition that have a row in the ledger, in order. Other pages have had no event yet.
    pub async fn known(&self, partition: i64) -> Result<Vec<KnownPage>, StoreError> {
        let client = self.database.client().await?;
        let statement = client
            .prepare_cached("select page, generation, state in ('done', 'dead') as ended from pagemill.pages where partition = $1 order by page")
            .await?;
        let rows = client.query(&statement, &[&partition]).await?;
        Ok(rows
            .iter()
            .map(|r| KnownPage {
                page: r.get::<_, i32>("page") as u32,
                generation: r.get::<_, i32>("generation") as u32,
                has_ended: r.get("ended"),
            })
            .collect())
    }

    /// Takes back one start of each of these pages (partition, page): they were returned in good order.
    pub async fn clear_start_marks(&self, jobs: &[(i64, u32)]) -> Result<(), StoreError> {
        let client = self.database.client().await?;
        let partitions: Vec<i64> = jobs.iter().map(|j| j.0).collect();
        let pages: Vec<i32> = jobs.iter().map(|j| j.1 as i32).collect();
        client
            .execute(
                "update pagemill.pages g set alone_starts = greatest(g.alone_starts - 1, 0), \
                     starts = case when g.alone_starts > 0 then g.starts else greatest(g.starts - 1, 0) end \
                 from unnest($1::bigint[], $2::int[]) as u(partition, page) \
                 where g.partition = u.partition and g.page = u.page and g.state not in ('done', 'dead')",
                &[&partitions, &pages],
            )
            .await?;
        Ok(())
    }

    /// Records a failed attempt. Copies of a job charge once: attempts become the greatest of what
    /// is there and the message's own count plus one. Returns the attempts, or `None` when the
    /// ledger no longer wants this job.
    pub async fn record_failure(&self, job: &PageJob, failure: &Failure) -> Result<Option<u32>, StoreError> {
        self.record_attempt(job, failure, job.attempt + 1, 0).await
    }

    /// Records that the API throttled a request: no attempt is spent.
    pub async fn record_throttled(
        &self,
        job: &PageJob,
        failure: &Failure,
    ) -> Result<Option<u32>, StoreError> {
        self.record_attempt(job, failure, job.attempt, 1).await
    }

    async fn record_attempt(
        &self,
        job: &PageJob,
        failure: &Failure,
        attempts: u32,
        throttled: i32,
    ) -> Result<Option<u32>, StoreError> {
        let client = self.database.client().await?;
        let statement = client
            .prepare_cached(
                "insert into pagemill.pages as g (partition, page, generation, state, attempts, requests, throttled, error, fingerprint, \
                     first_failed_at, last_failed_at) \
                 select $1, $2, $3, 'failed', $4, 1, $5, $6, $7, now(), now() \
                 where exists (select from pagemill.partitions where id = $1 and state = 'open') \
                 on conflict (partition, page) do update set state = 'failed', attempts = greatest(g.attempts, excluded.attempts), \
                     requests = g.requests + 1, throttled = g.throttled + excluded.throttled, starts = 0, alone_starts = 0, \
                     error = excluded.error, fingerprint = excluded.fingerprint, \
                     first_failed_at = coalesce(g.first_failed_at, now()), last_failed_at = now() \
                 where g.generation = excluded.generation and g.state not in ('done', 'dead') \
                 returning attempts",
            )
            .await?;
        let row = client
            .query_opt(
                &statement,
                &[
                    &job.partition,
                    &(job.page as i32),
                    &(job.generation as i32),
                    &(attempts as i32),
                    &throttled,
                    &failure.message,
                    &failure.fingerprint(),
                ],
            )
            .await?;
        Ok(row.map(|r| r.get::<_, i32>("attempts") as u32))
    }
}

async fn read(client: &Object, job: &PageJob) -> Result<LedgerPage, StoreError> {
    let statement = client
        .prepare_cached(&format!(
            "select {PROGRESS_COLUMNS}, p.state, coalesce(g.generation, 0) as generation, g.state as page_state, \
                    coalesce(g.starts, 0) as starts, coalesce(g.alone_starts, 0) as alone_starts \
             from pagemill.partitions p left join pagemill.pages g on g.partition = p.id and g.page = $2 where p.id = $1"
        ))
        .await?;
    let Some(row) = client.query_opt(&statement, &[&job.partition, &(job.page as i32)]).await? else {
        return Ok(LedgerPage::Unwanted(Unwanted::UnknownPartition));
    };
    let open = row.get::<_, &str>("state") == "open";
    let state: Option<&str> = row.get("page_state");
    Ok(if row.get::<_, i32>("generation") != job.generation as i32 {
        LedgerPage::Unwanted(Unwanted::Obsolete)
    } else if state == Some("dead") {
        LedgerPage::Unwanted(Unwanted::Dead(Progress::from_row(&row)))
    } else if !open {
        LedgerPage::Unwanted(Unwanted::Obsolete)
    } else if state == Some("done") {
        LedgerPage::Unwanted(Unwanted::Done(Progress::from_row(&row)))
    } else {
        LedgerPage::Wanted { starts: row.get("starts"), alone_starts: row.get("alone_starts") }
    })
}
