use std::pin::pin;

use deadpool_postgres::Transaction;
use futures_util::TryStreamExt;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::types::ToSql;

use super::cells::attempt_in_table;
use super::{Seals, read_partition};
use crate::{
    error::StoreError,
    identifier::quote,
    partitions::{CONFLICTING_CELL, PartitionRow, PartitionState},
    rows::read_rows,
    table::DataTable,
};

/// A partition's certificate, recounted from its data table and held against the ledger.
#[derive(Clone, Debug, Serialize)]
pub struct Recount {
    /// The partition.
    pub partition: i64,
    /// The slice, as text.
    pub slice: String,
    /// The ledger's word on its completeness.
    pub state: PartitionState,
    /// Why it is incomplete.
    pub reason: Option<String>,
    /// The API's stated total, or the rows counted where it states none.
    pub total: Option<i64>,
    /// Pages stored.
    pub pages: u64,
    /// Distinct keys in the ledger's pages.
    pub ledger_keys: u64,
    /// Rows of the partition in the table whose key the ledger has.
    pub table_keys: u64,
    /// Rows of the slice in the table that the pull did not contain.
    pub older_rows: u64,
    /// Rows of other days or accounts that the total counts, and that were dropped.
    pub dropped_rows: u64,
    /// Over the rows as the seal found them: 64 bits, hexadecimal.
    pub content_hash: Option<String>,
    /// The content hash, recounted from the table.
    pub table_content_hash: String,
    /// The run whose rows the table has instead, of the slice or of a part of it.
    pub superseded_by: Option<String>,
    /// Parts that it was split into.
    pub parts: Option<u32>,
    /// Requests whose response is known.
    pub requests: u64,
    /// The API's ids of the requests whose responses are stored, page by page.
    pub request_ids: Vec<Option<String>>,
    /// Rounds in which pages were fetched again because the proof failed.
    pub repair_rounds: u32,
    /// Sums of the additive metrics over the stored rows and the dropped ones, as the seal found them.
    pub sums: Value,
    /// Warnings on the seal.
    pub warnings: Value,
    /// The day on which its keys were pruned: since then its rows look like older ones.
    pub pruned_on: Option<Date>,
}

impl Recount {
    /// True if the table holds exactly what the seal says.
    pub fn agrees(&self) -> bool {
        self.state == PartitionState::Sealed
            && Some((self.table_keys + self.dropped_rows) as i64) == self.total
            && (self.pruned_on.is_some() || self.table_keys == self.ledger_keys && self.older_rows == 0)
            && self.content_hash.as_ref().is_none_or(|sealed| *sealed == self.table_content_hash)
    }

    /// True if the partition cannot be verified: its keys were pruned, and the table has enough rows, but
    /// others than it was sealed with. An older pull may have left them.
    pub fn is_unknown(&self) -> bool {
        let rows = self.table_keys + self.dropped_rows;
        let enough = self.total.is_none_or(|total| rows as i64 >= total);
        self.pruned_on.is_some() && self.state == PartitionState::Sealed && enough && !self.agrees()
    }
}

/// Rows hashed at a time.
const CHUNK: usize = 4_096;

/// The pages whose rows are the partition's own: of a whole, those of its parts.
const PAGES: &str = "select g.key_hashes, g.requests, g.request_id, g.state = 'done' as done, p.parts is null as is_unsplit \
    from pagemill.partitions p join pagemill.pages g on g.partition = p.id and g.page <= coalesce(p.last_page, g.page) \
    where coalesce(p.root, p.id) = $1 order by p.id, g.page";

impl Seals {
    /// Recounts a partition from its data table: hashes its rows as the decoder did and looks each
    /// key up among the ledger's. Ledger and table are read in one snapshot. If a reload has replaced the partition's
    /// rows, the reload is recounted in its place.
    pub async fn recount(&self, table: &DataTable, partition: &PartitionRow) -> Result<Recount, StoreError> {
        let mut client = self.database.client().await?;
        let tx = client
            .build_transaction()
            .read_only(true)
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .start()
            .await?;
        tx.batch_execute("set local statement_timeout = '30min'").await?;
        let superseded_by = superseding_run(&tx, partition).await?;
        let partition = match (&superseded_by, attempt_in_table(&tx, partition.id).await?) {
            (None, Some(attempt)) => read_partition(&tx, attempt).await?,
            _ => read_partition(&tx, partition.id).await?,
        };
        let partition = &partition;
        let proof: Option<Value> = tx
            .query_one("select proof from pagemill.partitions where id = $1", &[&partition.id])
            .await?
            .get("proof");
        let proof = proof.unwrap_or_default();
        let ledger = LedgerPages::read(&tx, partition).await?;
        let found = FoundRows::read(&tx, table, partition, &ledger.keys).await?;
        Ok(Recount {
            partition: partition.id,
            slice: partition.slice.to_string(),
            state: partition.state,
            reason: partition.reason.clone(),
            total: partition.progress.total,
            pages: ledger.request_ids.len() as u64,
            ledger_keys: ledger.keys.len() as u64,
            table_keys: found.keys,
            older_rows: found.older,
            dropped_rows: proof["outside"]["rows"].as_u64().unwrap_or(0),
            content_hash: proof["content_hash"].as_str().map(str::to_owned),
            table_content_hash: format!("{:016x}", found.content_hash),
            superseded_by,
            parts: partition.parts,
            requests: ledger.requests,
            request_ids: ledger.request_ids,
            repair_rounds: partition.repair_rounds,
            sums: proof["sums"].clone(),
            warnings: proof["warnings"].clone(),
            pruned_on: partition.pruned_at.map(day),
        })
    }
}

/// The run of a newer attempt that has sealed the slice, or a part of it.
async fn superseding_run(
    tx: &Transaction<'_>,
    partition: &PartitionRow,
) -> Result<Option<String>, StoreError> {
    let sql = format!(
        "select a.run::text as run from pagemill.partitions p join pagemill.sealed_cells c on {CONFLICTING_CELL} \
         join pagemill.partitions a on a.id = c.attempt where p.id = $1 and a.id > p.id and a.run <> p.run order by a.id desc limit 1"
    );
    Ok(tx.query_opt(&sql, &[&partition.id]).await?.map(|row| row.get("run")))
}

/// What the ledger has of a partition's pages.
#[derive(Default)]
struct LedgerPages {
    /// Sorted, each once.
    keys: Vec<i64>,
    requests: u64,
    request_ids: Vec<Option<String>>,
}

impl LedgerPages {
    async fn read(tx: &Transaction<'_>, partition: &PartitionRow) -> Result<Self, StoreError> {
        let mut ledger = Self::default();
        let mut pages = pin!(tx.query_raw(PAGES, [&partition.id]).await?);
        while let Some(row) = pages.try_next().await? {
            ledger.requests += row.get::<_, i32>("requests") as u64;
            if row.get("done") && row.get("is_unsplit") {
                ledger.keys.extend(row.get::<_, Option<Vec<i64>>>("key_hashes").unwrap_or_default());
                ledger.request_ids.push(row.get("request_id"));
            }
        }
        ledger.keys.sort_unstable();
        ledger.keys.dedup();
        Ok(ledger)
    }
}

/// Rows of a partition's slice in its table.
#[derive(Default)]
struct FoundRows {
    /// Rows whose key the ledger has, or all if its keys were pruned.
    keys: u64,
    /// The others.
    older: u64,
    content_hash: i64,
}

impl FoundRows {
    async fn read(
        tx: &Transaction<'_>,
        table: &DataTable,
        partition: &PartitionRow,
        ledger: &[i64],
    ) -> Result<Self, StoreError> {
        let columns: Vec<String> = table.shape.columns.iter().map(|c| quote(&c.name)).collect();
        let sql =
            format!("select {} from {} where {}", columns.join(", "), table.name, table.slice_condition());
        let s = &partition.slice;
        let params: [&(dyn ToSql + Sync); 3] = [&s.account, &s.from, &s.to];
        let mut rows = pin!(tx.query_raw(&sql, params).await?);
        let mut found = Self::default();
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            let row = rows.try_next().await?;
            let last = row.is_none();
            chunk.extend(row);
            if chunk.len() == CHUNK || last {
                let rows = read_rows(&chunk, table.shape.columns.iter().map(|c| c.kind));
                for (key, row) in rows.key_hashes(&table.key).iter().zip(rows.row_hashes()) {
                    if partition.pruned_at.is_some() || ledger.binary_search(key).is_ok() {
                        found.keys += 1;
                        found.content_hash = found.content_hash.wrapping_add(row);
                    } else {
                        found.older += 1;
                    }
                }
                chunk.clear();
            }
            if last {
                return Ok(found);
            }
        }
    }
}

/// The day of an instant, in UTC.
fn day(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}
