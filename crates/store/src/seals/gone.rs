//! Rows of a slice that are found by the hashes of their keys: the ledger keeps these, not the keys.

use std::pin::pin;

use deadpool_postgres::Transaction;
use futures_util::TryStreamExt;
use pagemill_core::Rows;
use tokio_postgres::types::ToSql;

use crate::{
    error::StoreError,
    identifier::quote,
    partitions::PartitionRow,
    rows::{ColumnArray, RowRef, read_rows},
    table::DataTable,
};

/// Rows looked at, and deleted, at a time.
const CHUNK: usize = 4_096;

/// Some keys of the table: the rows `order` of `rows`.
pub(super) struct FoundKeys {
    rows: Rows,
    order: Vec<RowRef>,
}

/// The keys of the slice's rows whose hashes are wanted.
pub(super) async fn find_keys(
    tx: &Transaction<'_>,
    table: &DataTable,
    partition: &PartitionRow,
    is_wanted: impl Fn(i64) -> bool,
) -> Result<Vec<FoundKeys>, StoreError> {
    let s = &partition.slice;
    let columns: Vec<String> = table.key.iter().map(|&k| quote(&table.shape.columns[k].name)).collect();
    let sql = format!("select {} from {} where {}", columns.join(", "), table.name, table.slice_condition());
    let params: [&(dyn ToSql + Sync); 3] = [&s.account, &s.from, &s.to];
    let mut found = pin!(tx.query_raw(&sql, params).await?);
    let (mut chunk, mut keys) = (Vec::with_capacity(CHUNK), Vec::new());
    loop {
        let row = found.try_next().await?;
        let last = row.is_none();
        chunk.extend(row);
        if chunk.len() == CHUNK || last {
            let rows = read_rows(&chunk, table.key.iter().map(|&k| table.shape.columns[k].kind));
            let all: Vec<usize> = (0..table.key.len()).collect();
            let order: Vec<RowRef> = (0..)
                .zip(rows.key_hashes(&all))
                .filter(|(_, hash)| is_wanted(*hash))
                .map(|(row, _)| RowRef { page: 0, row })
                .collect();
            if !order.is_empty() {
                keys.push(FoundKeys { rows, order });
            }
            chunk.clear();
        }
        if last {
            return Ok(keys);
        }
    }
}

impl FoundKeys {
    /// Runs a statement that takes an array for each column of the key; returns the rows that it changed.
    pub(super) async fn execute(
        &self,
        tx: &Transaction<'_>,
        table: &DataTable,
        sql: &str,
    ) -> Result<u64, StoreError> {
        let pages = [&self.rows];
        let kinds = table.key.iter().map(|&k| table.shape.columns[k].kind);
        let columns: Vec<ColumnArray<'_>> = kinds
            .enumerate()
            .map(|(column, kind)| ColumnArray { pages: &pages, order: &self.order, column, kind })
            .collect();
        let params: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|c| c as &(dyn ToSql + Sync)).collect();
        Ok(tx.execute(sql, &params).await?)
    }
}

/// Deletes the slice's rows whose key the attempt does not have; returns how many.
pub(super) async fn delete_missing(
    tx: &Transaction<'_>,
    table: &DataTable,
    partition: &PartitionRow,
) -> Result<u64, StoreError> {
    let mut keys: Vec<i64> = tx.query_one(KEYS, &[&partition.id]).await?.get("keys");
    keys.sort_unstable();
    let missing = find_keys(tx, table, partition, |hash| keys.binary_search(&hash).is_err()).await?;
    let mut deleted = 0;
    for found in &missing {
        deleted += found.execute(tx, table, &table.delete_keys_sql()).await?;
    }
    Ok(deleted)
}

/// The keys of all pages of a whole.
const KEYS: &str = "select coalesce(array_agg(key), '{}') as keys from (\
        select unnest(g.key_hashes) as key from pagemill.partitions p join pagemill.pages g on g.partition = p.id \
        where coalesce(p.root, p.id) = $1 and p.parts is null and g.state = 'done') k";
