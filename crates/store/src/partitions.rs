//! Partitions: attempts at a slice of a stream.

mod conflicts;
mod rescue;
mod row;
mod split;

pub(crate) use self::{
    conflicts::{CONFLICT, CONFLICTING_CELL},
    row::{PARTITION_COLUMNS, PROGRESS_COLUMNS, lane_name, part_from, write_mode_from},
};
pub use self::{
    rescue::Reissued,
    row::{PartitionRow, PartitionState, Progress},
};
use crate::{database::Database, error::StoreError, error::StoreErrorKind};

/// The partitions of the ledger: published, split, rescued, closed.
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
            "select {PARTITION_COLUMNS} from pagemill.partitions p where p.state = 'open' and p.reload_of is null and p.source = any($1) order by p.id"
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

    /// Closes a partition as incomplete, for a reason that its pages don't tell. `None` when it is closed already.
    pub async fn close_incomplete(
        &self,
        partition: i64,
        reason: &str,
    ) -> Result<Option<PartitionRow>, StoreError> {
        let client = self.database.client().await?;
        // Its parts are of no use without it.
        let sql = format!(
            "with parts as (update pagemill.partitions set state = 'incomplete', reason = $2, closed_at = now() \
                 where root = $1 and state in ('open', 'proved')) \
             update pagemill.partitions p set state = 'incomplete', reason = $2, closed_at = now(), progressed_at = now() \
             where p.id = $1 and p.state in ('open', 'proved') returning {PARTITION_COLUMNS}"
        );
        Ok(client.query_opt(&sql, &[&partition, &reason]).await?.as_ref().map(PartitionRow::from_row))
    }

    /// Closes an attempt that is not closed as incomplete, its parts included.
    pub async fn abandon(&self, attempt: i64, reason: &str) -> Result<(), StoreError> {
        let client = self.database.client().await?;
        client
            .execute(
                "update pagemill.partitions set state = 'incomplete', reason = $2, closed_at = now() \
                 where coalesce(root, id) = $1 and state in ('open', 'proved', 'held')",
                &[&attempt, &reason],
            )
            .await?;
        Ok(())
    }
}
