//! Stored responses: read again, decoded by a changed definition, and compared.

mod reload;

use jiff::{Timestamp, civil::Date};
use tokio_postgres::types::ToSql;

pub use self::reload::Reload;
use crate::{
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
    /// The API's id of the request.
    pub request_id: Option<String>,
    /// The body as it is stored: [`crate::decompress`] reads it.
    pub body: Vec<u8>,
}

/// Attempts whose rows the table has.
const IN_TABLE: &str =
    "exists (select from pagemill.sealed_cells c where c.attempt = coalesce(p.root, p.id))";

/// Attempts that fetched all that they were to: where a slice was split, at its parts.
const WHOLE: &str = "p.state <> 'open' and p.parts is null and p.subset_first is null and p.dead = 0 and p.done > 0 and p.reload_of is null";

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
                 where g.partition = p.id and g.state = 'done') as s(stored, responses, stale) \
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

    /// The pages of a partition whose response is stored, that of the latest request first.
    pub async fn pages(&self, partition: i64) -> Result<Vec<u32>, StoreError> {
        let client = self.database.client().await?;
        let rows = client
            .query(
                "select b.page from pagemill.responses b join pagemill.pages g on (g.partition, g.page) = (b.partition, b.page) \
                 where b.partition = $1 and g.state = 'done' order by g.requested_at desc, b.page desc",
                &[&partition],
            )
            .await?;
        Ok(rows.iter().map(|r| r.get::<_, i32>("page") as u32).collect())
    }

    /// The stored responses to these pages of a partition, that of the latest request first.
    pub async fn get(&self, partition: i64, pages: &[u32]) -> Result<Vec<StoredResponse>, StoreError> {
        let client = self.database.client().await?;
        let statement = client
            .prepare_cached(
                "select b.page, g.requested_at, g.request_id, b.body from pagemill.responses b \
                 join pagemill.pages g on (g.partition, g.page) = (b.partition, b.page) \
                 where b.partition = $1 and b.page = any($2) and g.state = 'done' \
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
                request_id: r.get("request_id"),
                body: r.get("body"),
            })
            .collect())
    }
}
