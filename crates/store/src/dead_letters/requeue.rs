use deadpool_postgres::Transaction;
use pagemill_core::PageJob;

use super::{
    DeadLetters,
    list::{DeadFilter, FILTER, WAITS_FOR_OPERATOR},
};
use crate::{
    error::StoreError,
    partitions::{CONFLICT, PARTITION_COLUMNS, PartitionRow},
    retry::with_retry,
    runs::PLAN_LOCK,
};

/// A dead letter that an operator gave another chance.
#[derive(Clone, Debug)]
pub struct Requeued {
    /// Id in `pagemill.dead_letters`.
    pub id: i64,
    /// The job to publish, of the page's new generation; or why it can't be requeued.
    pub job: Result<PageJob, String>,
}

impl DeadLetters {
    /// Gives dead letters another chance in the ledger: raises the page's generation, resets its
    /// attempts, reopens its partition. Those that an earlier, interrupted requeue had decided but
    /// not published come along. Publish the jobs, then call [`DeadLetters::mark_requeued`].
    pub async fn requeue(&self, filter: &DeadFilter) -> Result<Vec<Requeued>, StoreError> {
        with_retry(|| self.try_requeue(filter)).await
    }

    async fn try_requeue(&self, filter: &DeadFilter) -> Result<Vec<Requeued>, StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        // No plan meanwhile: it might open what is reopened here.
        tx.batch_execute(PLAN_LOCK).await?;
        let letters = tx
            .query(
                &format!(
                    "select id, message, requeued_at is not null as decided from pagemill.dead_letters \
                     where {WAITS_FOR_OPERATOR} and {FILTER} order by id for update"
                ),
                &filter.params(),
            )
            .await?;
        let mut requeued = Vec::with_capacity(letters.len());
        for letter in &letters {
            let id: i64 = letter.get("id");
            let job = match PageJob::decode(letter.get("message")) {
                Err(e) => Err(format!("{e}: it can only be dropped")),
                Ok(job) => reopen(&tx, &job, letter.get("decided")).await?,
            };
            if job.is_ok() {
                tx.execute("update pagemill.dead_letters set requeued_at = coalesce(requeued_at, now()) where id = $1", &[&id]).await?;
            }
            requeued.push(Requeued { id, job });
        }
        tx.commit().await?;
        Ok(requeued)
    }

    /// One requeue or drop at a time, of all processes: held until the guard is dropped, however its
    /// process ends. Takes a connection of its own for as long.
    ///
    /// # Errors
    /// [`crate::error::StoreErrorKind::Retriable`] when another holds it for half a minute.
    pub async fn lock(&self) -> Result<DeadLock, StoreError> {
        // Out of the pool: a lock of a session must not come back into it.
        let client = deadpool_postgres::Object::take(self.database.client().await?);
        client.execute("select pg_advisory_lock(hashtext('pagemill.dead'))", &[]).await?;
        Ok(DeadLock(client))
    }

    /// Marks requeues as finished: their jobs are published, or the next run in one process will publish them.
    pub async fn mark_requeued(&self, ids: &[i64]) -> Result<(), StoreError> {
        let client = self.database.client().await?;
        client
            .execute("update pagemill.dead_letters set published_at = now() where id = any($1)", &[&ids])
            .await?;
        Ok(())
    }

    /// Gives dead letters up for good; returns how many. Their pages stay dead.
    pub async fn drop(&self, filter: &DeadFilter) -> Result<u64, StoreError> {
        let client = self.database.client().await?;
        let sql = format!(
            "update pagemill.dead_letters set dropped_at = now() where {WAITS_FOR_OPERATOR} and {FILTER}"
        );
        Ok(client.execute(&sql, &filter.params()).await?)
    }
}

/// See [`DeadLetters::lock`].
pub struct DeadLock(#[expect(dead_code, reason = "held, not read")] deadpool_postgres::ClientWrapper);

/// Raises a dead page's generation and reopens its partition. The job to publish, or why not.
async fn reopen(
    tx: &Transaction<'_>,
    dead: &PageJob,
    decided: bool,
) -> Result<Result<PageJob, String>, StoreError> {
    let sql = format!("select {PARTITION_COLUMNS} from pagemill.partitions p where p.id = $1 for update");
    let Some(row) = tx.query_opt(&sql, &[&dead.partition]).await? else {
        return Ok(Err(format!("the ledger has no partition {}", dead.partition)));
    };
    let partition = PartitionRow::from_row(&row);
    let s = &partition.slice;
    if let Some(run) = newer_run(tx, partition.id).await? {
        return Ok(Err(format!("{s} was pulled again by run {run}: drop this dead letter")));
    }
    let generation =
        if decided { decided_generation(tx, dead).await? } else { raise_generation(tx, dead).await? };
    if !decided && generation.is_ok() {
        reopen_partition(tx, partition.id).await?;
    }
    Ok(generation.map(|generation| dead.at(dead.page, generation as u32)))
}

/// The newest run that pulled a partition's slice again, or sealed a slice that conflicts with it.
async fn newer_run(tx: &Transaction<'_>, partition: i64) -> Result<Option<i64>, StoreError> {
    let sql = format!(
        "select o.run from pagemill.partitions x join pagemill.partitions p on p.id = coalesce(x.root, x.id) \
         join pagemill.partitions o on {CONFLICT} and o.parent is null and o.subset_first is null \
             and (coalesce(o.reload_of, o.id) > p.id or o.id <> p.id and p.write_mode = 'direct' and o.state = 'sealed') \
         where x.id = $1 order by o.id desc limit 1"
    );
    Ok(tx.query_opt(&sql, &[&partition]).await?.map(|row| row.get("run")))
}

/// The generation that an earlier requeue, which died before its publish, gave the page. A rescue may have
/// published the page since: then there is nothing to publish.
async fn decided_generation(tx: &Transaction<'_>, dead: &PageJob) -> Result<Result<i32, String>, StoreError> {
    let page = tx
        .query_one(
            "select generation, state from pagemill.pages where partition = $1 and page = $2",
            &[&dead.partition, &(dead.page as i32)],
        )
        .await?;
    let state: &str = page.get("state");
    if state != "done" && state != "dead" {
        return Ok(Ok(page.get("generation")));
    }
    tx.execute("update pagemill.dead_letters set published_at = now() where message_id = $1", &[&dead.id()])
        .await?;
    Ok(Err(format!("requeued before, and {state} since")))
}

/// Makes a dead page a planned one of a new generation.
async fn raise_generation(tx: &Transaction<'_>, dead: &PageJob) -> Result<Result<i32, String>, StoreError> {
    let page = tx
        .query_opt(
            "update pagemill.pages set generation = generation + 1, state = 'planned', attempts = 0, starts = 0, alone_starts = 0 \
             where partition = $1 and page = $2 and state = 'dead' returning generation",
            &[&dead.partition, &(dead.page as i32)],
        )
        .await?;
    Ok(page
        .map(|row| row.get("generation"))
        .ok_or_else(|| "its page is no longer dead: drop this dead letter".into()))
}

/// Reopens a partition of which a page is no longer dead, and the wholes that it is a part of.
async fn reopen_partition(tx: &Transaction<'_>, partition: i64) -> Result<(), StoreError> {
    tx.execute(
        "update pagemill.partitions set state = 'open', dead = dead - 1, reason = null, proof = null, closed_at = null, progressed_at = now() \
         where id = $1",
        &[&partition],
    )
    .await?;
    tx.execute(
        "with recursive wholes as (select parent as id from pagemill.partitions where id = $1 and parent is not null \
             union select p.parent from pagemill.partitions p join wholes w on p.id = w.id where p.parent is not null) \
         update pagemill.partitions p set state = 'open', reason = null, proof = null, closed_at = null, progressed_at = now() \
         from wholes w where p.id = w.id",
        &[&partition],
    )
    .await?;
    Ok(())
}
