use pagemill_core::{Failure, PageJob};
use serde::Serialize;
use tokio_postgres::types::ToSql;

use super::partitions::{PARTITION_COLUMNS, PartitionRow, Progress};
use crate::{Store, StoreError, StoreErrorKind};

/// A dead letter, ready for the dead-letter queue.
#[derive(Clone, Debug)]
pub struct DeadRecord {
    /// Its id in `pagemill.dead_letters`.
    pub id: i64,
    /// Failed attempts.
    pub attempts: u32,
    /// First failure, RFC 3339.
    pub first_failed_at: String,
    /// Last failure, RFC 3339.
    pub last_failed_at: String,
    /// Where its partition stands now; `None` for a message that belongs to none, or a closed one.
    pub progress: Option<Progress>,
}

/// A dead letter as it is listed.
#[derive(Clone, Debug, Serialize)]
pub struct DeadRow {
    /// Its id.
    pub id: i64,
    /// Source.
    pub source: String,
    /// Stream, unless the message could not be decoded.
    pub stream: Option<String>,
    /// Account.
    pub account: Option<String>,
    /// Page.
    pub page: Option<i32>,
    /// Partition.
    pub partition: Option<i64>,
    /// Failed attempts.
    pub attempts: i32,
    /// The last error.
    pub error: String,
    /// Groups errors that differ only in numbers.
    pub fingerprint: String,
    /// First failure, RFC 3339.
    pub first_failed_at: String,
    /// Last failure, RFC 3339.
    pub last_failed_at: String,
    /// The message itself.
    #[serde(skip)]
    pub message: Vec<u8>,
}

/// Dead letters that share a kind of error.
#[derive(Clone, Debug, Serialize)]
pub struct DeadGroup {
    /// The kind.
    pub fingerprint: String,
    /// How many.
    pub count: i64,
    /// Source.
    pub source: String,
    /// Stream.
    pub stream: Option<String>,
    /// One of the errors.
    pub error: String,
    /// Last failure, RFC 3339.
    pub last_failed_at: String,
}

/// Which dead letters are meant; all conditions hold together, an empty one means all.
#[derive(Clone, Debug, Default)]
pub struct DeadFilter {
    /// These ids.
    pub ids: Option<Vec<i64>>,
    /// Of this stream.
    pub stream: Option<String>,
    /// Whose error contains this text.
    pub error: Option<String>,
}

/// A dead letter that an operator gave another chance.
#[derive(Clone, Debug)]
pub struct Requeued {
    /// Its id.
    pub id: i64,
    /// The message id of its copy in the dead-letter queue.
    pub message_id: String,
    /// The job to publish, of the page's new generation; or why it can't be requeued.
    pub job: Result<PageJob, String>,
}

const RFC3339: &str = "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'";
const OPEN: &str = "requeued_at is null and dropped_at is null";

impl Store {
    /// Records a page as dead and counts it in its partition. `None` when the ledger no longer
    /// wants this job (done meanwhile, an older generation, a closed partition).
    ///
    /// # Errors
    /// As any query.
    pub async fn record_dead(
        &self,
        job: &PageJob,
        failure: &Failure,
    ) -> Result<Option<DeadRecord>, StoreError> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let newly_dead = tx
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
        let Some(page) = newly_dead else {
            tx.rollback().await?;
            return Ok(None);
        };
        let s = &job.slice;
        let dead = tx
            .query_one(
                &format!(
                    "insert into pagemill.dead_letters (message_id, message, partition, source, stream, account, page, attempts, error, \
                         fingerprint, first_failed_at, last_failed_at) \
                     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, now()) \
                     on conflict (message_id) do update set error = excluded.error \
                     returning id, attempts, to_char(first_failed_at, {RFC3339}), to_char(last_failed_at, {RFC3339})"
                ),
                &[
                    &job.id(),
                    &job.encode(),
                    &job.partition,
                    &s.source,
                    &s.stream,
                    &s.account,
                    &(job.page as i32),
                    &page.get::<_, i32>(0),
                    &failure.message,
                    &failure.fingerprint(),
                    &page.get::<_, jiff::Timestamp>(1),
                ],
            )
            .await?;
        let counted = tx
            .query_opt(
                "update pagemill.partitions p set dead = p.dead + 1, progressed_at = now() where p.id = $1 and p.state = 'open' \
                 returning p.id, p.done, p.dead, p.total, p.first_page, p.last_page, p.published_at is not null",
                &[&job.partition],
            )
            .await?;
        let Some(counted) = counted else {
            tx.rollback().await?;
            return Ok(None);
        };
        tx.commit().await?;
        Ok(Some(DeadRecord {
            id: dead.get(0),
            attempts: dead.get::<_, i32>(1) as u32,
            first_failed_at: dead.get(2),
            last_failed_at: dead.get(3),
            progress: Some(Progress::from_row(&counted)),
        }))
    }

    /// Records a message that belongs to no partition (it could not be decoded, or the broker gave
    /// it up), under its id on the queue; once, however often it is seen.
    ///
    /// # Errors
    /// As any query.
    pub async fn record_dead_message(
        &self,
        source: &str,
        id: &str,
        message: &[u8],
        error: &str,
    ) -> Result<DeadRecord, StoreError> {
        let client = self.client().await?;
        let job = PageJob::decode(message).ok();
        let slice = job.as_ref().map(|j| &j.slice);
        let row = client
            .query_one(
                &format!(
                    "insert into pagemill.dead_letters as d (message_id, message, partition, source, stream, account, page, attempts, error, \
                         fingerprint, first_failed_at, last_failed_at) \
                     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now(), now()) \
                     on conflict (message_id) do update set message_id = d.message_id \
                     returning id, attempts, to_char(first_failed_at, {RFC3339}), to_char(last_failed_at, {RFC3339})"
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
        Ok(DeadRecord {
            id: row.get(0),
            attempts: row.get::<_, i32>(1) as u32,
            first_failed_at: row.get(2),
            last_failed_at: row.get(3),
            progress: None,
        })
    }

    /// The dead-letter queue has it.
    ///
    /// # Errors
    /// As any query.
    pub async fn confirm_dead(&self, message_id: &str) -> Result<(), StoreError> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached("update pagemill.dead_letters set confirmed_at = coalesce(confirmed_at, now()) where message_id = $1")
            .await?;
        client.execute(&statement, &[&message_id]).await?;
        Ok(())
    }

    /// The dead letter under a message id, however it ended.
    ///
    /// # Errors
    /// As any query.
    pub async fn dead_letter(&self, message_id: &str) -> Result<Option<DeadRecord>, StoreError> {
        let client = self.client().await?;
        let row = client
            .query_opt(
                &format!(
                    "select id, attempts, to_char(first_failed_at, {RFC3339}), to_char(last_failed_at, {RFC3339}) \
                     from pagemill.dead_letters where message_id = $1"
                ),
                &[&message_id],
            )
            .await?;
        Ok(row.map(|r| DeadRecord {
            id: r.get(0),
            attempts: r.get::<_, i32>(1) as u32,
            first_failed_at: r.get(2),
            last_failed_at: r.get(3),
            progress: None,
        }))
    }

    /// Of these message ids, those whose copy in the dead-letter queue still stands for something:
    /// recorded, neither requeued nor dropped. Those unknown to the ledger are not among them.
    ///
    /// # Errors
    /// As any query.
    pub async fn known_dead(&self, message_ids: &[String]) -> Result<Vec<(String, bool)>, StoreError> {
        let client = self.client().await?;
        let rows = client
            .query(
                &format!("select message_id, {OPEN} from pagemill.dead_letters where message_id = any($1)"),
                &[&message_ids],
            )
            .await?;
        Ok(rows.iter().map(|r| (r.get(0), r.get(1))).collect())
    }

    /// How many dead letters of a source wait for an operator.
    ///
    /// # Errors
    /// As any query.
    pub async fn count_dead(&self, source: &str) -> Result<u64, StoreError> {
        let client = self.client().await?;
        let sql = format!("select count(*) from pagemill.dead_letters where source = $1 and {OPEN}");
        Ok(client.query_one(&sql, &[&source]).await?.get::<_, i64>(0) as u64)
    }

    /// The dead letters that wait for an operator, oldest first.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_dead(&self, filter: &DeadFilter) -> Result<Vec<DeadRow>, StoreError> {
        let client = self.client().await?;
        let rows = client
            .query(
                &format!(
                    "select id, source, stream, account, page, partition, attempts, error, fingerprint, \
                            to_char(first_failed_at, {RFC3339}), to_char(last_failed_at, {RFC3339}), message \
                     from pagemill.dead_letters where {OPEN} and {FILTER} order by id"
                ),
                &filter.params(),
            )
            .await?;
        Ok(rows
            .iter()
            .map(|r| DeadRow {
                id: r.get(0),
                source: r.get(1),
                stream: r.get(2),
                account: r.get(3),
                page: r.get(4),
                partition: r.get(5),
                attempts: r.get(6),
                error: r.get(7),
                fingerprint: r.get(8),
                first_failed_at: r.get(9),
                last_failed_at: r.get(10),
                message: r.get(11),
            })
            .collect())
    }

    /// Dead letters counted by kind of error, most first.
    ///
    /// # Errors
    /// As any query.
    pub async fn group_dead(&self) -> Result<Vec<DeadGroup>, StoreError> {
        let client = self.client().await?;
        let rows = client
            .query(
                &format!(
                    "select fingerprint, count(*), source, stream, max(error), to_char(max(last_failed_at), {RFC3339}) \
                     from pagemill.dead_letters where {OPEN} group by fingerprint, source, stream order by count(*) desc, fingerprint"
                ),
                &[],
            )
            .await?;
        Ok(rows
            .iter()
            .map(|r| DeadGroup {
                fingerprint: r.get(0),
                count: r.get(1),
                source: r.get(2),
                stream: r.get(3),
                error: r.get(4),
                last_failed_at: r.get(5),
            })
            .collect())
    }

    /// Gives dead letters another chance in the ledger: raises the page's generation, resets its
    /// attempts, reopens its partition. Those that an earlier, interrupted requeue had decided but
    /// not published come along. Publish the jobs, then call [`Store::mark_requeued`].
    ///
    /// # Errors
    /// As any query.
    pub async fn requeue_dead(&self, filter: &DeadFilter) -> Result<Vec<Requeued>, StoreError> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let mut params = filter.params().to_vec();
        params.truncate(3);
        let letters = tx
            .query(
                &format!(
                    "select id, message_id, message, requeued_at is not null from pagemill.dead_letters \
                     where dropped_at is null and published_at is null and {FILTER} order by id for update"
                ),
                &params,
            )
            .await?;
        let mut requeued = Vec::with_capacity(letters.len());
        for letter in &letters {
            let id: i64 = letter.get(0);
            let job = match PageJob::decode(letter.get(2)) {
                Err(e) => Err(format!("{e}: it can only be dropped")),
                Ok(job) => reopen(&tx, &job, letter.get(3)).await?,
            };
            if job.is_ok() {
                tx.execute("update pagemill.dead_letters set requeued_at = coalesce(requeued_at, now()) where id = $1", &[&id]).await?;
            }
            requeued.push(Requeued { id, message_id: letter.get(1), job });
        }
        tx.commit().await?;
        Ok(requeued)
    }

    /// One requeue or drop at a time, of all processes: held until the guard is dropped, however its
    /// process ends. Takes a connection of its own for as long.
    ///
    /// # Errors
    /// [`StoreErrorKind::Retriable`] when another holds it for half a minute.
    pub async fn lock_dead(&self) -> Result<DeadLock, StoreError> {
        // Out of the pool: a lock of a session must not come back into it.
        let client = deadpool_postgres::Object::take(self.client().await?);
        client.execute("select pg_advisory_lock(hashtext('pagemill.dead'))", &[]).await?;
        Ok(DeadLock(client))
    }

    /// The requeued jobs were accepted by their lanes.
    ///
    /// # Errors
    /// As any query.
    pub async fn mark_requeued(&self, ids: &[i64]) -> Result<(), StoreError> {
        let client = self.client().await?;
        client
            .execute("update pagemill.dead_letters set published_at = now() where id = any($1)", &[&ids])
            .await?;
        Ok(())
    }

    /// Gives dead letters up for good; returns their message ids. Their pages stay dead.
    ///
    /// # Errors
    /// As any query.
    pub async fn drop_dead(&self, filter: &DeadFilter) -> Result<Vec<String>, StoreError> {
        let client = self.client().await?;
        let rows = client
            .query(
                &format!("update pagemill.dead_letters set dropped_at = now() where {OPEN} and {FILTER} returning message_id"),
                &filter.params(),
            )
            .await?;
        Ok(rows.iter().map(|r| r.get(0)).collect())
    }
}

/// See [`Store::lock_dead`].
pub struct DeadLock(#[expect(dead_code, reason = "held, not read")] deadpool_postgres::ClientWrapper);

/// `$1` ids, `$2` stream, `$3` text in the error.
const FILTER: &str = "($1::bigint[] is null or id = any($1)) and ($2::text is null or stream = $2) \
    and ($3::text is null or strpos(error, $3) > 0)";

impl DeadFilter {
    fn params(&self) -> [&(dyn ToSql + Sync); 3] {
        [&self.ids, &self.stream, &self.error]
    }
}

/// Raises a dead page's generation and reopens its partition. The job to publish, or why not.
async fn reopen(
    tx: &deadpool_postgres::Transaction<'_>,
    dead: &PageJob,
    decided: bool,
) -> Result<Result<PageJob, String>, StoreError> {
    let sql = format!("select {PARTITION_COLUMNS} from pagemill.partitions p where p.id = $1 for update");
    let Some(row) = tx.query_opt(&sql, &[&dead.partition]).await? else {
        return Ok(Err(format!("the ledger has no partition {}", dead.partition)));
    };
    let partition = PartitionRow::from_row(&row);
    let s = &partition.slice;
    let newer = tx
        .query_opt(
            "select run from pagemill.partitions where source = $1 and stream = $2 and account = $3 and from_date = $4 and to_date = $5 \
             and id > $6 order by id desc limit 1",
            &[&s.source, &s.stream, &s.account, &s.from, &s.to, &partition.id],
        )
        .await?;
    if let Some(newer) = newer {
        return Ok(Err(format!(
            "{s} was pulled again by run {}: drop this dead letter",
            newer.get::<_, i64>(0)
        )));
    }
    if decided {
        // An earlier requeue died between its decision and its publish.
        let page = tx
            .query_one(
                "select generation from pagemill.pages where partition = $1 and page = $2",
                &[&dead.partition, &(dead.page as i32)],
            )
            .await?;
        return Ok(Ok(dead.at(dead.page, page.get::<_, i32>(0) as u32)));
    }
    let page = tx
        .query_opt(
            "update pagemill.pages set generation = generation + 1, state = 'planned', attempts = 0, starts = 0, alone_starts = 0 \
             where partition = $1 and page = $2 and state = 'dead' returning generation",
            &[&dead.partition, &(dead.page as i32)],
        )
        .await?;
    let Some(page) = page else {
        return Ok(Err("its page is no longer dead: drop this dead letter".into()));
    };
    tx.execute(
        "update pagemill.partitions set state = 'open', dead = dead - 1, reason = null, proof = null, closed_at = null, progressed_at = now() \
         where id = $1",
        &[&partition.id],
    )
    .await?;
    Ok(Ok(dead.at(dead.page, page.get::<_, i32>(0) as u32)))
}

/// Shorthand for what cannot be.
pub(crate) fn none_found(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, format!("the ledger has no {what}"))
}
