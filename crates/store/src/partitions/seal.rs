//! The proof of completeness. Where it fails and fetching again may mend it, pages are reissued,
//! in bounded rounds, before a partition is closed as incomplete.

use deadpool_postgres::Transaction;
use pagemill_core::{IncompleteReason, Verdict};

use super::Partitions;
use super::{
    missing::delete_missing,
    proof::Proof,
    repair::{repair, take_total},
    rescue::Reissued,
    row::{PARTITION_COLUMNS, PartitionRow},
};
use crate::{error::StoreError, retry::with_retry, table::DataTable};

/// What became of a partition that has ended.
#[derive(Clone, Debug)]
pub enum Sealing {
    /// Closed: sealed, or incomplete and why.
    Closed(SealReport),
    /// The proof failed: these pages are to be fetched again, under new generations.
    Repair(Reissued, IncompleteReason),
}

/// The result of closing a partition.
#[derive(Clone, Debug)]
pub struct SealReport {
    /// Which.
    pub partition: PartitionRow,
    /// Rows, as the API states them or as they were counted, without dropped ones.
    pub rows: u64,
    /// Sealed, or incomplete and why.
    pub verdict: Verdict,
    /// Warnings: what is odd about data that is complete.
    pub warnings: Vec<String>,
}

impl Partitions {
    /// Closes a partition if its every page is done or dead and all its parts are closed: sealed with
    /// its proof, or incomplete with the reason. Where fetching pages again may mend it, and fewer
    /// than `rounds` rounds of that have been, it stays open and the suspected pages are reissued.
    /// Idempotent: `None` when it is closed already or has pages left.
    ///
    /// `table` is its stream's, for what the definition says of sums and missing rows; without it a
    /// partition is closed as it is.
    pub async fn seal(
        &self,
        partition: i64,
        table: Option<&DataTable>,
        rounds: u32,
    ) -> Result<Option<Sealing>, StoreError> {
        with_retry(|| self.try_seal(partition, table, rounds)).await
    }

    async fn try_seal(
        &self,
        partition: i64,
        table: Option<&DataTable>,
        rounds: u32,
    ) -> Result<Option<Sealing>, StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        // Counting ten million keys takes its time, and sorts better in memory.
        tx.batch_execute("set local statement_timeout = '10min'; set local work_mem = '64MB'").await?;
        let sql = format!(
            "select {PARTITION_COLUMNS} from pagemill.partitions p where p.id = $1 and p.state = 'open' for update"
        );
        let Some(row) = tx.query_opt(&sql, &[&partition]).await? else {
            return Ok(None);
        };
        let mut partition = PartitionRow::from_row(&row);
        if !partition.progress.has_ended() {
            return Ok(None);
        }
        let proof = match partition.parts {
            Some(_) => Proof::of_parts(&tx, &partition, table).await?,
            None => Some(Proof::of_pages(&tx, &partition, table).await?),
        };
        let Some(mut proof) = proof else { return Ok(None) };
        // More pages were requested than there are, by a total that was the API's word only for a while.
        if proof.total < partition.progress.total && partition.progress.dead == 0 {
            partition = take_total(&tx, partition.id, proof.total).await?;
            proof = Proof::of_pages(&tx, &partition, table).await?;
        }
        if let Verdict::Incomplete(reason) = &proof.verdict
            && reason.is_repairable()
            && partition.parts.is_none()
            && partition.repair_rounds < rounds
        {
            let last_round = partition.repair_rounds + 1 == rounds;
            let reissued = repair(&tx, &partition, proof.total, reason, last_round).await?;
            fail::fail_point!("before-repair");
            let reason = reason.clone();
            tx.commit().await?;
            return Ok(Some(Sealing::Repair(reissued, reason)));
        }
        close(&tx, &partition, &mut proof, table).await?;
        tx.commit().await?;
        let Proof { rows, verdict, warnings, .. } = proof;
        Ok(Some(Sealing::Closed(SealReport { partition, rows, verdict, warnings })))
    }
}

/// Closes a partition as its proof says.
async fn close(
    tx: &Transaction<'_>,
    partition: &PartitionRow,
    proof: &mut Proof,
    table: Option<&DataTable>,
) -> Result<(), StoreError> {
    if let (Verdict::Sealed, Some(table)) = (&proof.verdict, table)
        && table.rules.deletes_missing
        && partition.parent.is_none()
    {
        let deleted = delete_missing(tx, table, partition).await?;
        proof.facts["deleted_rows"] = deleted.into();
    }
    let (state, reason) = match &proof.verdict {
        Verdict::Sealed => ("sealed", None),
        Verdict::Incomplete(reason) => ("incomplete", Some(reason.to_string())),
    };
    fail::fail_point!("inside-seal");
    tx.execute(
        "update pagemill.partitions set state = $2, reason = $3, proof = $4, total = coalesce(total, $5), closed_at = now(), \
             progressed_at = now() where id = $1",
        &[&partition.id, &state, &reason, &proof.facts, &proof.counted],
    )
    .await?;
    Ok(())
}
