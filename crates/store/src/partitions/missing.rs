//! Rows that a sealed pull no longer contains: `missing_rows = "delete"`.

use std::pin::pin;

use deadpool_postgres::Transaction;
use futures_util::TryStreamExt;
use pagemill_core::Rows;
use tokio_postgres::types::ToSql;

use super::row::PartitionRow;
use crate::{
    error::StoreError,
    identifier::quote,
    rows::{ColumnArray, RowRef, read_rows},
    table::DataTable,
};

/// Rows looked at, and deleted, at a time.
const CHUNK: usize = 4_096;

/// Deletes the partition's rows whose key the ledger does not have; returns how many. Rows that were
/// requested after the partition's own stay: another pull brought them.
pub(super) async fn delete_missing(
    tx: &Transaction<'_>,
    table: &DataTable,
    partition: &PartitionRow,
) -> Result<u64, StoreError> {
    let row = tx.query_one(KEYS, &[&partition.id]).await?;
    let (mut keys, newest): (Vec<i64>, Option<jiff::Timestamp>) = (row.get("keys"), row.get("newest"));
    keys.sort_unstable();
    let s = &partition.slice;
    let columns: Vec<String> = table.key.iter().map(|&k| quote(&table.shape.columns[k].name)).collect();
    let sql = format!(
        "select {} from {} where {} and _fetched_at <= $4",
        columns.join(", "),
        table.name,
        table.slice_condition()
    );
    let params: [&(dyn ToSql + Sync); 4] = [&s.account, &s.from, &s.to, &newest];
    let mut found = pin!(tx.query_raw(&sql, params).await?);
    let (mut chunk, mut gone) = (Vec::with_capacity(CHUNK), Vec::new());
    loop {
        let row = found.try_next().await?;
        let last = row.is_none();
        chunk.extend(row);
        if chunk.len() == CHUNK || last {
            let rows = read_rows(&chunk, table.key.iter().map(|&k| table.shape.columns[k].kind));
            let all: Vec<usize> = (0..table.key.len()).collect();
            let missing: Vec<RowRef> = (0..)
                .zip(rows.key_hashes(&all))
                .filter(|(_, hash)| keys.binary_search(hash).is_err())
                .map(|(row, _)| RowRef { page: 0, row })
                .collect();
            if !missing.is_empty() {
                gone.push((rows, missing));
            }
            chunk.clear();
        }
        if last {
            break;
        }
    }
    let mut deleted = 0;
    for (rows, missing) in &gone {
        deleted += delete(tx, table, rows, missing).await?;
    }
    Ok(deleted)
}

/// The keys of all pages of a whole, and when the last of them was requested.
const KEYS: &str = "select coalesce(array_agg(key), '{}') as keys, max(requested_at) as newest from (\
        select unnest(g.key_hashes) as key, g.requested_at from pagemill.partitions p join pagemill.pages g on g.partition = p.id \
        where coalesce(p.root, p.id) = $1 and p.parts is null and g.state = 'done') k";

async fn delete(
    tx: &Transaction<'_>,
    table: &DataTable,
    rows: &Rows,
    missing: &[RowRef],
) -> Result<u64, StoreError> {
    let shapes = || table.key.iter().map(|&k| &table.shape.columns[k]);
    let arrays: Vec<String> = (1..).zip(shapes()).map(|(i, c)| format!("${i}::{}[]", c.kind.sql())).collect();
    let (mut names, mut equal) = (Vec::new(), Vec::new());
    for (i, column) in shapes().enumerate() {
        names.push(format!("k{i}"));
        equal.push(format!("t.{} = u.k{i}", quote(&column.name)));
    }
    let sql = format!(
        "delete from {} t using unnest({}) as u({}) where {}",
        table.name,
        arrays.join(", "),
        names.join(", "),
        equal.join(" and ")
    );
    let pages = [rows];
    let columns: Vec<ColumnArray<'_>> = (shapes().enumerate())
        .map(|(column, c)| ColumnArray { pages: &pages, order: missing, column, kind: c.kind })
        .collect();
    let params: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|c| c as &(dyn ToSql + Sync)).collect();
    Ok(tx.execute(&sql, &params).await?)
}
