//! Puts a proved attempt's rows into the table and seals it, in one transaction: readers see the slice as it was sealed
//! before, or as it is sealed now.

use std::time::Duration;

use deadpool_postgres::Transaction;
use pagemill_core::WriteMode;
use serde_json::json;

use super::{
    Seals,
    cells::{attempt_in_table, take_cells},
    difference::{Difference, Replaced},
    gone::delete_missing,
    restage::restage,
};
use crate::{
    error::{StoreError, StoreErrorKind},
    partitions::{CONFLICT, CONFLICTING_CELL, PARTITION_COLUMNS, PartitionRow, Reissued},
    retry::with_retry,
    table::DataTable,
};

/// What became of a proved attempt.
#[derive(Clone, Debug)]
pub enum Applied {
    /// The table has its rows now.
    Sealed(SealReport),
    /// A newer pull, of this run, was sealed first: this one changes nothing.
    Superseded(PartitionRow, i64),
    /// Another attempt of the same stream and account is being applied, or a conflicting one still writes rows into the
    /// table: apply this one after it. Or the table was migrated to a newer definition than this process has.
    Waiting,
    /// What is staged does not lead from what the table has to what was proved: all pages are to be fetched again.
    Restage(Vec<Reissued>),
}

/// The result of a seal.
#[derive(Clone, Debug)]
pub struct SealReport {
    /// Which partition.
    pub partition: PartitionRow,
    /// The slice's rows.
    pub rows: u64,
    /// What the seal changed in the table.
    pub replaced: Replaced,
}

/// Takes the lock under which a stream's rows of one account are replaced, if nobody has it; it ends with the transaction.
const LOCK: &str = "select pg_try_advisory_xact_lock(hashtext('pagemill.apply'), hashtext($1)) as is_taken";

impl Seals {
    /// Applies a proved attempt: brings the slice's rows in the table into the state that the attempt found, and seals it.
    /// `None` if it is not proved, or a part of another.
    ///
    /// # Errors
    /// [`StoreErrorKind::Permanent`] if it takes longer than `at_most`, or the rows do not fit the table.
    pub async fn apply(
        &self,
        table: &DataTable,
        partition: i64,
        at_most: Duration,
    ) -> Result<Option<Applied>, StoreError> {
        let applying = with_retry(|| self.try_apply(table, partition, at_most));
        tokio::time::timeout(at_most, applying).await.unwrap_or_else(|_| {
            let what = format!(
                "its rows were not put into the table within {} s: raise consumer.apply_timeout",
                at_most.as_secs()
            );
            Err(StoreError::new(StoreErrorKind::Permanent, what))
        })
    }

    /// Proved attempts of these sources, the oldest first.
    pub async fn proved(&self, sources: &[String]) -> Result<Vec<PartitionRow>, StoreError> {
        let client = self.database.client().await?;
        let sql = format!(
            "select {PARTITION_COLUMNS} from pagemill.partitions p \
             where p.state = 'proved' and p.parent is null and p.reload_of is null and p.source = any($1) order by p.id"
        );
        let statement = client.prepare_cached(&sql).await?;
        Ok(client.query(&statement, &[&sources]).await?.iter().map(PartitionRow::from_row).collect())
    }

    /// Proved attempts of the same stream and account as one, the oldest first.
    pub async fn proved_beside(&self, attempt: &PartitionRow) -> Result<Vec<PartitionRow>, StoreError> {
        let client = self.database.client().await?;
        let sql = format!(
            "select {PARTITION_COLUMNS} from pagemill.partitions p where p.state = 'proved' and p.parent is null and p.reload_of is null \
             and (p.source, p.stream, p.row_account) = ($1, $2, $3) order by p.id"
        );
        let statement = client.prepare_cached(&sql).await?;
        let slice = &attempt.slice;
        let rows = client.query(&statement, &[&slice.source, &slice.stream, &attempt.row_account]).await?;
        Ok(rows.iter().map(PartitionRow::from_row).collect())
    }

    async fn try_apply(
        &self,
        table: &DataTable,
        partition: i64,
        at_most: Duration,
    ) -> Result<Option<Applied>, StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        tx.batch_execute(&format!(
            "set local statement_timeout = {}; set local work_mem = '64MB'",
            at_most.as_millis()
        ))
        .await?;
        let sql = format!(
            "select {PARTITION_COLUMNS}, coalesce((p.proof->>'distinct_keys')::bigint, 0) as keys from pagemill.partitions p \
             where p.id = $1 and p.state = 'proved' and p.parent is null"
        );
        let Some(found) = tx.query_opt(&sql, &[&partition]).await? else { return Ok(None) };
        let (slice, account) = (&PartitionRow::from_row(&found).slice, found.get::<_, String>("row_account"));
        if !is_current(&tx, table).await? {
            return Ok(Some(Applied::Waiting));
        }
        let lock = format!("{}.{}/{account}", slice.source, slice.stream);
        if !tx.query_one(LOCK, &[&lock]).await?.get::<_, bool>("is_taken") {
            return Ok(Some(Applied::Waiting));
        }
        // It may have been applied before the lock was there.
        let Some(row) = tx.query_opt(&format!("{sql} for no key update"), &[&partition]).await? else {
            return Ok(None);
        };
        let (partition, keys) = (PartitionRow::from_row(&row), row.get::<_, i64>("keys"));
        let applied = apply_locked(&tx, table, partition, keys).await?;
        fail::fail_point!("inside-apply");
        match &applied {
            Applied::Waiting => tx.rollback().await?,
            Applied::Sealed(_) | Applied::Superseded(..) | Applied::Restage(_) => tx.commit().await?,
        }
        Ok(Some(applied))
    }
}

/// True if the table is as this process's definition has it. One that was migrated since may have columns of which this process
/// knows nothing: a newer process applies the attempt.
async fn is_current(tx: &Transaction<'_>, table: &DataTable) -> Result<bool, StoreError> {
    let sql = "select shape->'columns' = $3::jsonb->'columns' as is_current from pagemill.streams where (source, stream) = ($1, $2)";
    let found = tx.query_opt(sql, &[&table.source, &table.stream, &table.recorded_shape()]).await?;
    Ok(found.is_some_and(|row| row.get("is_current")))
}

/// Nothing else replaces rows of the stream and account meanwhile.
async fn apply_locked(
    tx: &Transaction<'_>,
    table: &DataTable,
    partition: PartitionRow,
    keys: i64,
) -> Result<Applied, StoreError> {
    if let Some(run) = newer_seal(tx, partition.id).await? {
        let reason = format!("superseded: run {run} has sealed newer data");
        tx.execute(
            "update pagemill.partitions set state = 'incomplete', reason = $2, closed_at = now() \
                 where coalesce(root, id) = $1 and state = 'proved'",
            &[&partition.id, &reason],
        )
        .await?;
        return Ok(Applied::Superseded(partition, run));
    }
    if is_written_to(tx, partition.id).await? {
        return Ok(Applied::Waiting);
    }
    let replaced = match partition.write_mode {
        WriteMode::Direct => complete_direct(tx, table, &partition, keys).await?,
        WriteMode::Staged => replace(tx, table, &partition, keys).await?,
    };
    let Some(replaced) = replaced else {
        return Ok(Applied::Restage(restage(tx, partition.id).await?));
    };
    seal(tx, &partition, &replaced).await?;
    Ok(Applied::Sealed(SealReport { partition, rows: keys as u64, replaced }))
}

/// Rows that the pages wrote are in the table already; what closed attempts left beside them goes. `None` if rows are
/// missing: somebody deleted them.
async fn complete_direct(
    tx: &Transaction<'_>,
    table: &DataTable,
    partition: &PartitionRow,
    keys: i64,
) -> Result<Option<Replaced>, StoreError> {
    let slice = &partition.slice;
    let sql = format!(
        "select count(*) as rows, count(*) filter (where _run = $4) as own from {} where {}",
        table.name,
        table.slice_condition()
    );
    let counted = tx.query_one(&sql, &[&slice.account, &slice.from, &slice.to, &partition.run]).await?;
    let (mut rows, own): (i64, i64) = (counted.get("rows"), counted.get("own"));
    let mut gone = 0;
    if rows != keys || own != keys {
        gone = delete_missing(tx, table, partition).await? as i64;
        rows -= gone;
    }
    Ok((rows == keys).then(|| Replaced { added: keys as u64, gone: gone as u64, ..Replaced::default() }))
}

/// Replaces the slice's rows by those of a staged attempt. `None` if they do not lead to what was proved.
async fn replace(
    tx: &Transaction<'_>,
    table: &DataTable,
    partition: &PartitionRow,
    keys: i64,
) -> Result<Option<Replaced>, StoreError> {
    let baseline = match partition.baseline {
        Some(baseline) if attempt_in_table(tx, partition.id).await? == Some(baseline) => Some(baseline),
        _ => None,
    };
    let difference = match baseline {
        Some(baseline) => Difference::from_baseline(tx, table, partition, baseline, keys).await?,
        None => Difference::of_all(tx, table, partition, keys).await?,
    };
    match difference {
        Some(difference) => difference.apply(tx, table, partition).await.map(Some),
        None => Ok(None),
    }
}

/// Notes that the table has the attempt's rows.
async fn seal(tx: &Transaction<'_>, partition: &PartitionRow, replaced: &Replaced) -> Result<(), StoreError> {
    take_cells(tx, partition).await?;
    let changes = json!({ "added": replaced.added, "changed": replaced.changed, "gone": replaced.gone });
    let (rows, digest) = replaced.digest.unzip();
    let sealed = tx
        .execute(
            "update pagemill.partitions p set state = 'sealed', closed_at = now(), progressed_at = now(), \
                 row_count = case when p.id = $1 then $3::bigint end, digest = case when p.id = $1 then $4::bigint end, \
                 proof = case when p.id = $1 then p.proof || jsonb_build_object('rows', $2::jsonb) else p.proof end \
             where coalesce(p.root, p.id) = $1 and p.state = 'proved'",
            &[&partition.id, &changes, &rows, &digest],
        )
        .await?;
    if sealed == 0 {
        return Err(StoreError::new(StoreErrorKind::Retriable, "the partition is no longer proved"));
    }
    Ok(())
}

/// The run of a newer attempt that has sealed a conflicting slice.
async fn newer_seal(tx: &Transaction<'_>, partition: i64) -> Result<Option<i64>, StoreError> {
    let sql = format!(
        "select newer.run from pagemill.partitions p join pagemill.sealed_cells c on {CONFLICTING_CELL} \
         join pagemill.partitions newer on newer.id = c.attempt where p.id = $1 and coalesce(newer.reload_of, newer.id) > coalesce(p.reload_of, p.id) order by c.attempt desc limit 1"
    );
    Ok(tx.query_opt(&sql, &[&partition]).await?.map(|row| row.get("run")))
}

/// True if another attempt at a conflicting slice still writes rows into the table.
async fn is_written_to(tx: &Transaction<'_>, partition: i64) -> Result<bool, StoreError> {
    let sql = format!(
        "select exists (select from pagemill.partitions p join pagemill.partitions o on {CONFLICT} \
             where p.id = $1 and o.id <> p.id and o.state in ('open', 'proved', 'held') and o.write_mode = 'direct' and o.parent is null) as found"
    );
    Ok(tx.query_one(&sql, &[&partition]).await?.get("found"))
}
