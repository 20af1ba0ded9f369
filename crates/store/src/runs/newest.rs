//! The newest attempt at a slice, by which planning decides.

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use pagemill_core::{PageRange, Slice};
use tokio_postgres::Row;

use super::NewPartition;
use crate::{error::StoreError, partitions::PartitionState};

/// The newest attempt at a slice.
pub(super) struct Newest {
    pub(super) id: i64,
    pub(super) run: i64,
    pub(super) state: PartitionState,
    pub(super) subset: Option<PageRange>,
    pub(super) closed_at: Option<Timestamp>,
}

/// The columns that [`Newest::from_row`] reads.
pub(super) const NEWEST_COLUMNS: &str = "id, run, state, subset_first, subset_last, closed_at";

impl Newest {
    pub(super) fn from_row(row: &Row) -> Self {
        let subset: Option<(i32, i32)> =
            row.get::<_, Option<i32>>("subset_first").zip(row.get("subset_last"));
        Self {
            id: row.get("id"),
            run: row.get("run"),
            state: row.get("state"),
            subset: subset.map(|(first, last)| PageRange { first: first as u32, last: last as u32 }),
            closed_at: row.get("closed_at"),
        }
    }

    /// Sealed, and late enough.
    pub(super) fn is_final(&self, wanted: &NewPartition) -> bool {
        self.state == PartitionState::Sealed
            && wanted
                .due_if_sealed_before
                .is_none_or(|due| self.closed_at.is_some_and(|closed| closed >= due))
    }
}

pub(super) async fn newest_attempt(
    tx: &Transaction<'_>,
    slice: &Slice,
) -> Result<Option<Newest>, StoreError> {
    let statement = tx
        .prepare_cached(&format!(
            "select {NEWEST_COLUMNS} \
             from pagemill.partitions where source = $1 and stream = $2 and account = $3 and from_date = $4 and to_date = $5 \
               and parent is null order by id desc limit 1",
        ))
        .await?;
    let row = tx
        .query_opt(&statement, &[&slice.source, &slice.stream, &slice.account, &slice.from, &slice.to])
        .await?;
    Ok(row.as_ref().map(Newest::from_row))
}
