//! Partitions: attempts at a slice of a stream.

mod missing;
mod outside;
mod proof;
mod quality;
mod recount;
mod repair;
mod rescue;
mod row;
mod seal;
mod split;
mod standing;

pub(crate) use self::row::{PARTITION_COLUMNS, PROGRESS_COLUMNS, lane_name};
pub use self::{
    recount::Recount,
    rescue::Reissued,
    row::{PartitionRow, PartitionState, Progress},
    seal::{SealReport, Sealing},
};
use crate::{database::Database, error::StoreError, error::StoreErrorKind};

/// The partitions of the ledger.
#[derive(Clone)]
pub struct Partitions {
    database: Database,
}

impl Partitions {
    pub(crate) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// One partition.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] if there is none with this id.
    pub async fn get(&self, id: i64) -> Result<PartitionRow, StoreError> {
        let client = self.database.client().await?;
        let statement = client
            .prepare_cached(&format!("select {PARTITION_COLUMNS} from pagemill.partitions p where p.id = $1"))
            .await?;
        let row = client.query_opt(&statement, &[&id]).await?;
        row.map(|r| PartitionRow::from_row(&r)).ok_or_else(|| {
            StoreError::new(StoreErrorKind::Invalid, format!("the ledger has no partition {id}"))
        })
    }

    /// The partitions of a run, in order.
    pub async fn of_run(&self, run: i64) -> Result<Vec<PartitionRow>, StoreError> {
        let client = self.database.client().await?;
        let sql = format!(
            "select {PARTITION_COLUMNS} from pagemill.run_partitions rp join pagemill.partitions p on p.id = rp.partition \
             where rp.run = $1 order by p.id"
        );
        Ok(client.query(&sql, &[&run]).await?.iter().map(PartitionRow::from_row).collect())
    }

    /// The open partitions of these sources, whichever run opened them.
    pub async fn open(&self, sources: &[String]) -> Result<Vec<PartitionRow>, StoreError> {
        let client = self.database.client().await?;
        let sql = format!(
            "select {PARTITION_COLUMNS} from pagemill.partitions p where p.state = 'open' and p.source = any($1) order by p.id"
        );
        Ok(client.query(&sql, &[&sources]).await?.iter().map(PartitionRow::from_row).collect())
    }

    /// Notes that the queue has accepted the jobs beyond the first page; see [`Progress::published`].
    pub async fn mark_published(&self, partition: i64) -> Result<(), StoreError> {
        let client = self.database.client().await?;
        client
            .execute(
                "update pagemill.partitions set published_at = coalesce(published_at, now()), progressed_at = now() where id = $1",
                &[&partition],
            )
            .await?;
        Ok(())
    }

    /// Closes an open partition as incomplete, for a reason that its pages don't tell. `None` when it is not open.
    pub async fn close_incomplete(
        &self,
        partition: i64,
        reason: &str,
    ) -> Result<Option<PartitionRow>, StoreError> {
        let client = self.database.client().await?;
        let sql = format!(
            "update pagemill.partitions p set state = 'incomplete', reason = $2, closed_at = now(), progressed_at = now() \
             where p.id = $1 and p.state = 'open' returning {PARTITION_COLUMNS}"
        );
        Ok(client.query_opt(&sql, &[&partition, &reason]).await?.as_ref().map(PartitionRow::from_row))
    }
}
