//! Recounts a run from the data tables, and compares it with its seals.

use pagemill_store::{DataTable, PartitionRow, Recount, Store};

use crate::{error::UsageError, sources::ResolvedSource};

/// The result of recounting a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The table holds exactly what the seal states.
    Verified,
    /// A newer run pulled the slice again: its seal is the one to verify.
    Superseded,
    /// The keys were pruned, and the table no longer proves the seal.
    Unknown,
    /// The partition is not sealed, or the table does not hold what its seal states.
    Failed,
}

impl Verification {
    /// Judges a recount.
    pub fn of(recount: &Recount) -> Self {
        if recount.superseded_by.is_some() {
            Self::Superseded
        } else if recount.agrees() {
            Self::Verified
        } else if recount.is_unknown() {
            Self::Unknown
        } else {
            Self::Failed
        }
    }
}

/// Recounts a run's partitions one by one, and shows each to `observe`. Returns whether none failed.
///
/// # Errors
/// [`UsageError`] for a partition whose source or stream the config does not name; no such run; PostgreSQL
/// being away.
pub async fn verify(
    store: &Store,
    sources: &[ResolvedSource],
    run: i64,
    observe: &mut (dyn FnMut(&Recount, Verification) + Send),
) -> anyhow::Result<bool> {
    store.check_schema(&[]).await?;
    store.runs.status(run).await?;
    let mut all_ok = true;
    for partition in store.partitions.of_run(run).await? {
        let table = table_of(store, sources, &partition)?;
        let recount = store.seals.recount(&table, &partition).await?;
        let verification = Verification::of(&recount);
        all_ok &= verification != Verification::Failed;
        observe(&recount, verification);
    }
    Ok(all_ok)
}

fn table_of(
    store: &Store,
    sources: &[ResolvedSource],
    partition: &PartitionRow,
) -> anyhow::Result<DataTable> {
    let slice = &partition.slice;
    let source = sources.iter().find(|source| source.name() == slice.source);
    let tables = source.map(|source| source.tables(store)).transpose()?;
    let table = tables.and_then(|mut tables| tables.remove(&slice.stream));
    table.ok_or_else(|| UsageError(format!("{slice}: the config does not name its source and stream")).into())
}
