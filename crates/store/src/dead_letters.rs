//! Dead letters: page jobs that are not tried again by themselves, and messages that are none.

mod list;
mod requeue;

use std::{collections::HashMap, time::Duration};

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use pagemill_core::{Failure, PageJob};
use tokio_postgres::Row;

pub use self::{
    list::{DeadFilter, DeadGroup, DeadRow},
    requeue::{DeadLock, Requeued},
};
use crate::{
    database::Database,
    error::StoreError,
    partitions::{PROGRESS_COLUMNS, Progress},
};

/// A dead letter, ready for the dead-letter queue.
#[derive(Clone, Debug)]
pub struct DeadRecord {
    /// Id in `pagemill.dead_letters`.
    pub id: i64,
    /// The last error.
    pub error: String,
    /// Groups errors that differ only in numbers.
    pub fingerprint: String,
    /// Failed attempts.
    pub attempts: u32,
    /// First failure, RFC 3339.
    pub first_failed_at: String,
    /// Last failure, RFC 3339.
    pub last_failed_at: String,
    /// The partition's progress now; `None` for a message that belongs to none, or a closed one.
    pub progress: Option<Progress>,
}

impl DeadRecord {
    /// A record that counts in no open partition.
    fn from_row(row: &Row) -> Self {
        Self {
            id: row.get("id"),
            error: row.get("error"),
            fingerprint: row.get("fingerprint"),
            attempts: row.get::<_, i32>("attempts") as u32,
            first_failed_at: row.get("first_failed"),
            last_failed_at: row.get("last_failed"),
            progress: None,
        }
    }
}

/// The columns that [`DeadRecord::from_row`] reads.
const RECORD_COLUMNS: &str = "id, error, fingerprint, attempts, to_char(first_failed_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') as first_failed, \
    to_char(last_failed_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') as last_failed";

/// The format of the times of a listed dead letter.
const RFC3339: &str = "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'";

const OPEN: &str = "requeued_at is null and dropped_at is null";

/// The dead letters of the ledger.
#[derive(Clone)]
pub struct DeadLetters {
    database: Database,
}

impl DeadLetters {
    pub(crate) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Records a page as dead and counts it in its partition. `None` when the ledger no longer
    /// wants this job (done meanwhile, an older generation, a closed partition).
    pub async fn record(&self, job: &PageJob, failure: &Failure) -> Result<Option<DeadRecord>, StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        let Some(page) = mark_page_dead(&tx, job, failure).await? else { return Ok(None) };
        let letter = insert_letter(&tx, job, failure, &page).await?;
        let counted = tx
            .query_opt(
                &format!("update pagemill.partitions p set dead = p.dead + 1, progressed_at = now() where p.id = $1 and p.state = 'open' \
                 returning {PROGRESS_COLUMNS}"),
                &[&job.partition],
            )
            .await?;
        let Some(counted) = counted else { return Ok(None) };
        tx.commit().await?;
        Ok(Some(DeadRecord { progress: Some(Progress::from_row(&counted)), ..letter }))
    }

    /// Records a message that belongs to no partition (it could not be decoded, or the broker gave
    /// it up), under its id on the queue; once, however often it is seen. Dropped before, it waits again.
    pub async fn record_message(
        &self,
        source: &str,
        id: &str,
        message: &[u8],
        error: &str,
    ) -> Result<DeadRecord, StoreError> {
        let client = self.database.client().await?;
        let job = PageJob::decode(message).ok();
        let slice = job.as_ref().map(|j| &j.slice);
        let row = client
            .query_one(
                &format!(
                    "insert into pagemill.dead_letters as d (message_id, message, partition, source, stream, account, page, attempts, error, \
                         fingerprint, first_failed_at, last_failed_at) \
                     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now(), now()) \
                     on conflict (message_id) do update set requeued_at = null, published_at = null, dropped_at = null \
                     returning {RECORD_COLUMNS}"
                ),
                &[
                    &id,
                    &message,
                    &job.as_ref().map(|j| j.partition),
                    &source,
                    &slice.map(|s| &s.stream),
                    &slice.map(|s| &s.account),
                    &job.as_ref().map(|j| j.page as i32),
                    &job.as_ref().map_or(0, |j| j.attempt as i32),
                    &error,
                    &pagemill_core::fingerprint(error),
                ],
            )
            .await?;
        Ok(DeadRecord::from_row(&row))
    }

    /// Notes that the dead-letter queue has the letter.
    pub async fn confirm(&self, message_id: &str) -> Result<(), StoreError> {
        let client = self.database.client().await?;
        let statement = client
            .prepare_cached("update pagemill.dead_letters set confirmed_at = coalesce(confirmed_at, now()) where message_id = $1")
            .await?;
        client.execute(&statement, &[&message_id]).await?;
        Ok(())
    }

    /// The open dead letter under a message id: neither requeued nor dropped.
    pub async fn find_open(&self, message_id: &str) -> Result<Option<DeadRecord>, StoreError> {
        let client = self.database.client().await?;
        let row = client
            .query_opt(
                &format!(
                    "select {RECORD_COLUMNS} \
                     from pagemill.dead_letters where message_id = $1 and {OPEN}"
                ),
                &[&message_id],
            )
            .await?;
        Ok(row.map(|r| DeadRecord::from_row(&r)))
    }

    /// The open dead letters of a source that failed `age` ago or longer, and that the dead-letter queue was never
    /// seen to have, with their ids on the queue and their messages. At most 1,000 of them.
    pub async fn unconfirmed(
        &self,
        source: &str,
        age: Duration,
    ) -> Result<Vec<(String, Vec<u8>, DeadRecord)>, StoreError> {
        let client = self.database.client().await?;
        let sql = format!(
            "select message_id, message, {RECORD_COLUMNS} from pagemill.dead_letters \
             where source = $1 and {OPEN} and confirmed_at is null and last_failed_at < now() - make_interval(secs => $2) \
             order by id limit 1000"
        );
        let rows = client.query(&sql, &[&source, &age.as_secs_f64()]).await?;
        Ok(rows.iter().map(|r| (r.get("message_id"), r.get("message"), DeadRecord::from_row(r))).collect())
    }

    /// Those of the message ids that the ledger knows. The value is true if the dead letter is open: neither
    /// requeued nor dropped.
    pub async fn known(&self, message_ids: &[String]) -> Result<HashMap<String, bool>, StoreError> {
        let client = self.database.client().await?;
        let rows = client
            .query(
                &format!("select message_id, {OPEN} as is_open from pagemill.dead_letters where message_id = any($1)"),
                &[&message_ids],
            )
            .await?;
        Ok(rows.iter().map(|r| (r.get("message_id"), r.get("is_open"))).collect())
    }

    /// The number of dead letters of a source that wait for an operator.
    pub async fn count(&self, source: &str) -> Result<u64, StoreError> {
        let client = self.database.client().await?;
        let sql = format!("select count(*) as count from pagemill.dead_letters where source = $1 and {OPEN}");
        Ok(client.query_one(&sql, &[&source]).await?.get::<_, i64>("count") as u64)
    }
}

/// A page that has just become dead.
struct DeadPage {
    attempts: i32,
    first_failed_at: Timestamp,
}

/// `None` if the ledger no longer wants the job.
async fn mark_page_dead(
    tx: &Transaction<'_>,
    job: &PageJob,
    failure: &Failure,
) -> Result<Option<DeadPage>, StoreError> {
    let row = tx
        .query_opt(
            "insert into pagemill.pages as g (partition, page, generation, state, attempts, error, fingerprint, first_failed_at, last_failed_at) \
             select $1, $2, $3, 'dead', $4, $5, $6, now(), now() \
             where exists (select from pagemill.partitions where id = $1 and state = 'open') \
             on conflict (partition, page) do update set state = 'dead', attempts = greatest(g.attempts, excluded.attempts), \
                 starts = 0, error = excluded.error, fingerprint = excluded.fingerprint, \
                 first_failed_at = coalesce(g.first_failed_at, now()), last_failed_at = now() \
             where g.generation = excluded.generation and g.state not in ('done', 'dead') \
             returning attempts, first_failed_at",
            &[
                &job.partition,
                &(job.page as i32),
                &(job.generation as i32),
                &(job.attempt as i32),
                &failure.message,
                &failure.fingerprint(),
            ],
        )
        .await?;
    Ok(row.map(|row| DeadPage { attempts: row.get("attempts"), first_failed_at: row.get("first_failed_at") }))
}

async fn insert_letter(
    tx: &Transaction<'_>,
    job: &PageJob,
    failure: &Failure,
    page: &DeadPage,
) -> Result<DeadRecord, StoreError> {
    let s = &job.slice;
    let row = tx
        .query_one(
            &format!(
                "insert into pagemill.dead_letters (message_id, message, partition, source, stream, account, page, attempts, error, \
                     fingerprint, first_failed_at, last_failed_at) \
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, now()) \
                 on conflict (message_id) do update set error = excluded.error, fingerprint = excluded.fingerprint \
                 returning {RECORD_COLUMNS}"
            ),
            &[
                &job.id(),
                &job.encode(),
                &job.partition,
                &s.source,
                &s.stream,
                &s.account,
                &(job.page as i32),
                &page.attempts,
                &failure.message,
                &failure.fingerprint(),
                &page.first_failed_at,
            ],
        )
        .await?;
    Ok(DeadRecord::from_row(&row))
}
