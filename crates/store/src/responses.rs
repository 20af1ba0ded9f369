//! Stored responses: read again, decoded by a changed definition, and compared.

mod rewrite;

use jiff::{Timestamp, civil::Date};
use tokio_postgres::types::ToSql;

pub use self::rewrite::Rewritten;
use crate::{
    compression::decompress,
    database::Database,
    error::StoreError,
    partitions::{PARTITION_COLUMNS, PartitionRow},
    table::DataTable,
};

/// Selects slices of a table's stream.
#[derive(Clone, Debug, Default)]
pub struct Slices {
    /// Only these accounts; empty = all.
    pub accounts: Vec<String>,
    /// Only those that touch these days, the first and the last.
    pub days: Option<(Date, Date)>,
}

/// An attempt at a slice, and how many of its responses are stored.
#[derive(Clone, Debug)]
pub struct AttemptResponses {
    /// The partition.
    pub partition: PartitionRow,
    /// Pages stored.
    pub pages: u64,
    /// Pages whose response is stored.
    pub responses: u64,
    /// Stored responses that another definition than the table's decoded, as far as is known.
    pub stale: u64,
}

/// The stored response to a page's request.
#[derive(Debug)]
pub struct StoredResponse {
    /// Which page.
    pub page: u32,
    /// When its request was sent, on the database's clock.
    pub requested_at: Timestamp,
    /// Hashes of its rows' keys, as they were read last.
    pub key_hashes: Vec<i64>,
    /// The body as it came, or why it cannot be had.
    pub body: Result<Vec<u8>, String>,
}

/// Rows go back to the newest sealed attempt at their slice, and to those since.
const IN_TABLE: &str = "not exists (select from pagemill.partitions w join pagemill.partitions newer \
        on (newer.source, newer.stream, newer.account, newer.from_date, newer.to_date) \
            = (w.source, w.stream, w.account, w.from_date, w.to_date) \
    where w.id = coalesce(p.root, p.id) and newer.parent is null and newer.id > w.id and newer.state = 'sealed')";

/// Attempts that fetched all that they were to: where a slice was split, at its parts.
const WHOLE: &str =
    "p.state <> 'open' and p.parts is null and p.subset_first is null and p.dead = 0 and p.done > 0";

/// The stored responses, and the attempts that have them.
#[derive(Clone)]
pub struct Responses {
    database: Database,
}

impl Responses {
    pub(crate) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// The attempts from which the rows of these slices come, parts among them, the older first.
    pub async fn attempts_in_table(
        &self,
        table: &DataTable,
        slices: &Slices,
    ) -> Result<Vec<AttemptResponses>, StoreError> {
        self.attempts(table, slices, IN_TABLE).await
    }

    /// The closed attempts that lack no page, at these slices or their parts, the older first.
    pub async fn whole_attempts(
        &self,
        table: &DataTable,
        slices: &Slices,
    ) -> Result<Vec<AttemptResponses>, StoreError> {
        self.attempts(table, slices, WHOLE).await
    }

    async fn attempts(
        &self,
        table: &DataTable,
        slices: &Slices,
        which: &str,
    ) -> Result<Vec<AttemptResponses>, StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.build_transaction().read_only(true).start().await?;
        tx.batch_execute("set local statement_timeout = '10min'").await?;
        let sql = format!(
            "select {PARTITION_COLUMNS}, s.stored, s.responses, s.stale from pagemill.partitions p \
             cross join lateral (select count(*), count(b.page), count(b.page) filter (where b.decode_hash is distinct from $6) \
                 from pagemill.pages g left join pagemill.responses b on (b.partition, b.page) = (g.partition, g.page) \
                 where g.partition = p.id and g.requested_at is not null) as s(stored, responses, stale) \
             where p.source = $1 and p.stream = $2 and (cardinality($3::text[]) = 0 or p.account = any($3)) \
               and ($4::date is null or p.to_date >= $4) and ($5::date is null or p.from_date <= $5) and {which} \
             order by coalesce(p.root, p.id), p.id"
        );
        let (from, to) = slices.days.unzip();
        let params: [&(dyn ToSql + Sync); 6] =
            [&table.source, &table.stream, &slices.accounts, &from, &to, &table.decode_hash];
        let rows = tx.query(&sql, &params).await?;
        let count = |r: &tokio_postgres::Row, name| r.get::<_, i64>(name) as u64;
        Ok(rows
            .iter()
            .map(|r| AttemptResponses {
                partition: PartitionRow::from_row(r),
                pages: count(r, "stored"),
                responses: count(r, "responses"),
                stale: count(r, "stale"),
            })
            .collect())
    }

    /// The pages of a partition whose response is stored, that of the latest request first. With a
    /// table, only those whose rows were not made by its definition.
    pub async fn pages(&self, partition: i64, stale: Option<&DataTable>) -> Result<Vec<u32>, StoreError> {
        let client = self.database.client().await?;
        let decode_hash = stale.and_then(|table| table.decode_hash);
        let rows = client
            .query(
                "select b.page from pagemill.responses b join pagemill.pages g on (g.partition, g.page) = (b.partition, b.page) \
                 where b.partition = $1 and g.requested_at is not null and (not $2 or b.decode_hash is distinct from $3) \
                 order by g.requested_at desc, b.page desc",
                &[&partition, &stale.is_some(), &decode_hash],
            )
            .await?;
        Ok(rows.iter().map(|r| r.get::<_, i32>("page") as u32).collect())
    }

    /// The stored responses to these pages of a partition, that of the latest request first.
    pub async fn get(&self, partition: i64, pages: &[u32]) -> Result<Vec<StoredResponse>, StoreError> {
        let client = self.database.client().await?;
        let statement = client
            .prepare_cached(
                "select b.page, g.requested_at, g.key_hashes, b.body from pagemill.responses b \
                 join pagemill.pages g on (g.partition, g.page) = (b.partition, b.page) \
                 where b.partition = $1 and b.page = any($2) and g.requested_at is not null \
                 order by g.requested_at desc, b.page desc",
            )
            .await?;
        let pages: Vec<i32> = pages.iter().map(|page| *page as i32).collect();
        let rows = client.query(&statement, &[&partition, &pages]).await?;
        Ok(rows
            .iter()
            .map(|r| StoredResponse {
                page: r.get::<_, i32>("page") as u32,
                requested_at: r.get("requested_at"),
                key_hashes: r.get::<_, Option<_>>("key_hashes").unwrap_or_default(),
                body: decompress(r.get("body")).map_err(|e| format!("the stored response is damaged: {e}")),
            })
            .collect())
    }

    /// Which of these pages have rows of a slice in the table: if other keys are read of such a
    /// page, the rows under the old ones would stay for ever.
    pub async fn pages_in_table(
        &self,
        table: &DataTable,
        partition: &PartitionRow,
        pages: &[u32],
    ) -> Result<Vec<u32>, StoreError> {
        let client = self.database.client().await?;
        let slice = &partition.slice;
        let pages: Vec<i32> = pages.iter().map(|page| *page as i32).collect();
        let sql = format!(
            "select distinct _page from {} where {} and _page = any($4)",
            table.name,
            table.slice_condition()
        );
        let params: [&(dyn ToSql + Sync); 4] = [&slice.account, &slice.from, &slice.to, &pages];
        let rows = client.query(&sql, &params).await?;
        Ok(rows.iter().map(|r| r.get::<_, i32>("_page") as u32).collect())
    }
}
