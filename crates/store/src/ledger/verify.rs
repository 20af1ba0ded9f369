use std::pin::pin;

use futures_util::TryStreamExt;
use pagemill_core::{Column, Kind, Rows};
use serde::Serialize;
use tokio_postgres::{Row, types::ToSql};

use super::partitions::PartitionRow;
use crate::{DataTable, Store, StoreError, quote};

/// A partition recounted from its data table, and held against the ledger.
#[derive(Clone, Debug, Serialize)]
pub struct Recount {
    /// The partition.
    pub partition: i64,
    /// What it is a slice of.
    pub slice: String,
    /// The ledger's word: `open`, `sealed` or `incomplete`.
    pub state: String,
    /// Why it is incomplete.
    pub reason: Option<String>,
    /// The API's stated total.
    pub total: Option<i64>,
    /// Distinct keys in the ledger's pages.
    pub ledger_keys: u64,
    /// Rows of the partition in the table whose key the ledger has.
    pub table_keys: u64,
    /// Rows in the table that the last pull did not contain (kept: `missing_rows = "keep"`).
    pub older_rows: u64,
    /// The newer run that pulled the slice again, if one did.
    pub superseded_by: Option<String>,
}

impl Recount {
    /// Whether the table holds exactly what the seal says.
    pub fn agrees(&self) -> bool {
        self.state == "sealed"
            && Some(self.ledger_keys as i64) == self.total
            && self.table_keys == self.ledger_keys
    }
}

/// Rows hashed at a time.
const CHUNK: usize = 4_096;

impl Store {
    /// Recounts a partition from its data table: hashes the keys of its rows as the decoder did and
    /// looks each up among the ledger's.
    ///
    /// # Errors
    /// As any query.
    pub async fn recount(&self, table: &DataTable, partition: &PartitionRow) -> Result<Recount, StoreError> {
        let mut client = self.client().await?;
        let tx = client
            .build_transaction()
            .read_only(true)
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .start()
            .await?;
        tx.batch_execute("set local statement_timeout = '30min'").await?;
        let s = &partition.slice;
        let superseded_by = tx
            .query_opt(
                "select run::text from pagemill.partitions where source = $1 and stream = $2 and account = $3 and from_date = $4 \
                 and to_date = $5 and id > $6 order by id desc limit 1",
                &[&s.source, &s.stream, &s.account, &s.from, &s.to, &partition.id],
            )
            .await?
            .map(|r| r.get(0));
        let mut ledger = Vec::new();
        let mut pages = pin!(
            tx.query_raw(
                "select keys from pagemill.pages where partition = $1 and state = 'done'",
                [&partition.id]
            )
            .await?
        );
        while let Some(row) = pages.try_next().await? {
            ledger.extend(row.get::<_, Vec<i64>>(0));
        }
        ledger.sort_unstable();
        ledger.dedup();

        let kinds: Vec<Kind> = table.key.iter().map(|&k| table.shape.columns[k].kind).collect();
        let columns: Vec<String> = table.key.iter().map(|&k| quote(&table.shape.columns[k].name)).collect();
        let sql =
            format!("select {} from {} where {}", columns.join(", "), table.name, table.slice_condition());
        let params: [&(dyn ToSql + Sync); 3] = [&s.account, &s.from, &s.to];
        let mut rows = pin!(tx.query_raw(&sql, params).await?);
        let (mut table_keys, mut older_rows) = (0, 0);
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            let row = rows.try_next().await?;
            let last = row.is_none();
            chunk.extend(row);
            if chunk.len() == CHUNK || last {
                for hash in hashes(&chunk, &kinds) {
                    match ledger.binary_search(&hash) {
                        Ok(_) => table_keys += 1,
                        Err(_) => older_rows += 1,
                    }
                }
                chunk.clear();
            }
            if last {
                break;
            }
        }
        Ok(Recount {
            partition: partition.id,
            slice: s.to_string(),
            state: partition.state.clone(),
            reason: partition.reason.clone(),
            total: partition.progress.total,
            ledger_keys: ledger.len() as u64,
            table_keys,
            older_rows,
            superseded_by,
        })
    }
}

/// The key hashes of rows that hold just the key's columns.
fn hashes(rows: &[Row], kinds: &[Kind]) -> Vec<i64> {
    let columns = kinds.iter().enumerate().map(|(i, kind)| {
        let mut column = Column::with_capacity(*kind, rows.len());
        for row in rows {
            match &mut column {
                Column::Bigint(v) => v.push(row.get(i)),
                Column::Numeric(v) => v.push(row.get(i)),
                Column::Text(v) => v.push(row.get(i)),
                Column::Boolean(v) => v.push(row.get(i)),
                Column::Date(v) => v.push(row.get(i)),
                Column::Timestamptz(v) => v.push(row.get(i)),
            }
        }
        column
    });
    let all: Vec<usize> = (0..kinds.len()).collect();
    Rows::new(rows.len(), columns.collect()).key_hashes(&all)
}
