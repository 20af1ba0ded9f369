//! The proof of completeness. Where it fails and fetching again may mend it, pages are reissued,
//! in bounded rounds, before a partition is closed as incomplete.

use deadpool_postgres::{Object, Transaction};
use pagemill_core::{IncompleteReason, Verdict, WriteMode};
use tokio_postgres::IsolationLevel;

use super::Seals;
use super::{
    proof::Proof,
    repair::{repair, take_total},
    restage::restage,
};
use crate::{
    error::StoreError,
    partitions::{PARTITION_COLUMNS, PartitionRow, Reissued},
    retry::with_retry,
    table::DataTable,
};

/// What became of a partition that has ended.
#[derive(Clone, Debug)]
pub enum Proving {
    /// Proved, or incomplete and why.
    Ended(ProofReport),
    /// The proof failed: these pages are to be fetched again, under new generations.
    Repair(Reissued, IncompleteReason),
    /// The database's clock has stepped back: which of two versions of a row is the later one is not known. All pages are
    /// to be fetched again, and their rows staged.
    Restage(Vec<Reissued>),
}

/// The result of a proof.
#[derive(Clone, Debug)]
pub struct ProofReport {
    /// Which partition.
    pub partition: PartitionRow,
    /// Rows, as the API states them or as they were counted, without dropped ones.
    pub rows: u64,
    /// Complete, or incomplete and why.
    pub verdict: Verdict,
    /// Warnings: what is odd about data that is complete.
    pub warnings: Vec<String>,
}

/// A partition, and which version of its row it was read from.
struct Version {
    partition: PartitionRow,
    xmin: String,
}

/// What a proof comes to.
enum Step {
    Ended(ProofReport),
    Repair(Reissued, IncompleteReason),
    Restage(Vec<Reissued>),
    /// The API's total became smaller, or the partition changed meanwhile: prove again.
    Again,
}

impl Seals {
    /// Proves a partition if its every page is done or dead and all its parts are closed: it is proved then, or incomplete
    /// with the reason. Where fetching pages again may mend it, and fewer than `rounds` rounds of that have been, it stays
    /// open and the suspected pages are reissued. Idempotent: `None` when it is not open or has pages left.
    ///
    /// `table` is its stream's, for what the definition says of sums.
    pub async fn prove(
        &self,
        partition: i64,
        table: Option<&DataTable>,
        rounds: u32,
    ) -> Result<Option<Proving>, StoreError> {
        with_retry(|| self.try_prove(partition, table, rounds)).await
    }

    async fn try_prove(
        &self,
        partition: i64,
        table: Option<&DataTable>,
        rounds: u32,
    ) -> Result<Option<Proving>, StoreError> {
        let mut client = self.database.client().await?;
        loop {
            let Some((version, proof)) = read(&mut client, partition, table).await? else { return Ok(None) };
            match conclude(&mut client, version, proof, rounds).await? {
                Step::Ended(report) => return Ok(Some(Proving::Ended(report))),
                Step::Repair(reissued, reason) => return Ok(Some(Proving::Repair(reissued, reason))),
                Step::Restage(reissued) => return Ok(Some(Proving::Restage(reissued))),
                Step::Again => {}
            }
        }
    }
}

/// An open partition that has ended, and its proof. Nothing is locked while keys are counted: pages that come again
/// meanwhile are stored, and the proof is made again.
async fn read(
    client: &mut Object,
    partition: i64,
    table: Option<&DataTable>,
) -> Result<Option<(Version, Proof)>, StoreError> {
    let tx = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
    // Counting ten million keys takes its time, and sorts better in memory.
    tx.batch_execute("set local statement_timeout = '10min'; set local work_mem = '64MB'").await?;
    let sql = format!(
        "select {PARTITION_COLUMNS}, p.xmin::text as version from pagemill.partitions p where p.id = $1 and p.state = 'open'"
    );
    let Some(row) = tx.query_opt(&sql, &[&partition]).await? else { return Ok(None) };
    let version = Version { partition: PartitionRow::from_row(&row), xmin: row.get("version") };
    if !version.partition.progress.has_ended() {
        return Ok(None);
    }
    let proof = match version.partition.parts {
        Some(_) => Proof::of_parts(&tx, &version.partition, table).await?,
        None => Some(Proof::of_pages(&tx, &version.partition, table).await?),
    };
    tx.commit().await?;
    Ok(proof.map(|proof| (version, proof)))
}

/// Does what follows from a proof, if the partition is still as it was read.
async fn conclude(
    client: &mut Object,
    version: Version,
    proof: Proof,
    rounds: u32,
) -> Result<Step, StoreError> {
    let Version { partition, xmin } = version;
    let tx = client.transaction().await?;
    let sql = "select true as found from pagemill.partitions where id = $1 and state = 'open' and xmin::text = $2 for update";
    if tx.query_opt(sql, &[&partition.id, &xmin]).await?.is_none() {
        return Ok(Step::Again);
    }
    // More pages were requested than there are, by a total that was the API's word only for a while.
    if partition.parts.is_none() && proof.total < partition.progress.total && partition.progress.dead == 0 {
        take_total(&tx, partition.id, proof.total).await?;
        tx.commit().await?;
        return Ok(Step::Again);
    }
    if proof.is_ahead && partition.write_mode == WriteMode::Direct && partition.parent.is_none() {
        let reissued = restage(&tx, partition.id).await?;
        tx.commit().await?;
        return Ok(Step::Restage(reissued));
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
        return Ok(Step::Repair(reissued, reason));
    }
    close(&tx, &partition, &proof).await?;
    tx.commit().await?;
    let Proof { rows, verdict, warnings, .. } = proof;
    Ok(Step::Ended(ProofReport { partition, rows, verdict, warnings }))
}

/// Closes a partition as its proof says; a proved one is closed when it is sealed.
async fn close(tx: &Transaction<'_>, partition: &PartitionRow, proof: &Proof) -> Result<(), StoreError> {
    let (state, reason) = match &proof.verdict {
        Verdict::Complete => ("proved", None),
        Verdict::Incomplete(reason) => ("incomplete", Some(reason.to_string())),
    };
    fail::fail_point!("inside-proof");
    tx.execute(
        "update pagemill.partitions set state = $2, reason = $3, proof = $4, total = coalesce(total, $5), \
             decode_hash = $6, requested_from = $7, closed_at = case when $2 = 'incomplete' then now() end, progressed_at = now() where id = $1",
        &[
            &partition.id,
            &state,
            &reason,
            &proof.facts,
            &proof.counted,
            &proof.decode_hash,
            &proof.requested_from,
        ],
    )
    .await?;
    Ok(())
}
