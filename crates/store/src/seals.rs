//! Seals: attempts are proved complete, put into their tables, and recounted.
//!
//! ```text
//! prove        facts of the pages -> verdict; or pages are fetched again      prove.rs, proof.rs, repair.rs
//! apply        what differs goes into the table, and cells name the attempt   apply.rs, difference.rs, cells.rs
//! baseline     the sealed attempt that the next one is compared with          baseline.rs
//! recount      the table held against the certificate                         recount.rs
//! ```

mod apply;
mod baseline;
mod cells;
mod difference;
mod gone;
mod outside;
mod proof;
mod prove;
mod quality;
mod recount;
mod repair;
mod restage;
mod staged;

pub use self::{
    apply::{Applied, SealReport},
    difference::Replaced,
    prove::{ProofReport, Proving},
    recount::Recount,
};
use deadpool_postgres::Transaction;

use crate::{
    database::Database,
    error::StoreError,
    partitions::{PARTITION_COLUMNS, PartitionRow},
};

/// Attempts on their way from the last page to the seal, and what is sealed.
#[derive(Clone)]
pub struct Seals {
    database: Database,
}

impl Seals {
    pub(crate) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }
}

async fn read_partition(tx: &Transaction<'_>, id: i64) -> Result<PartitionRow, StoreError> {
    let sql = format!("select {PARTITION_COLUMNS} from pagemill.partitions p where p.id = $1");
    Ok(PartitionRow::from_row(&tx.query_one(&sql, &[&id]).await?))
}
