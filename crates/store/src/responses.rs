//! Stored responses: read again, decoded by a changed definition, and compared.

use deadpool_postgres::Transaction;
use jiff::{Timestamp, civil::Date};
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;

use crate::{
    DataTable, PageWrite, StoreError, StoreErrorKind,
    compression::decompress,
    database::Database,
    partitions::{PARTITION_COLUMNS, PartitionRow},
    retry::with_retry,
    rows::RowParams,
};

/// Of which slices of a table's stream.
#[derive(Clone, Debug, Default)]
pub struct Slices {
    /// Only of these accounts; empty = of all.
    pub accounts: Vec<String>,
    /// Only those that touch these days, the first and the last.
    pub days: Option<(Date, Date)>,
}

/// An attempt at a slice, and how many of its responses are stored.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The partition.
    pub partition: PartitionRow,
    /// Pages stored.
    pub pages: u64,
    /// Of these, pages whose response is stored.
    pub responses: u64,
    /// Of these, responses that the table's definition did not decode, as far as is known.
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
    pub keys: Vec<i64>,
    /// The body as it came, or why it cannot be had.
    pub body: Result<Vec<u8>, String>,
}

/// What became of pages that were read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// Rows that changed or were not there.
    pub rows: u64,
    /// A newer attempt at the slice has been sealed meanwhile: nothing was written.
    pub superseded: bool,
}

/// Rows go back to the newest sealed attempt at their slice, and to those since.
const IN_TABLE: &str = "not exists (select from pagemill.partitions w join pagemill.partitions newer \
        on (newer.source, newer.stream, newer.account, newer.from_date, newer.to_date) \
            = (w.source, w.stream, w.account, w.from_date, w.to_date) \
    where w.id = coalesce(p.top, p.id) and newer.parent is null and newer.id > w.id and newer.state = 'sealed')";

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
    ) -> Result<Vec<Attempt>, StoreError> {
        self.attempts(table, slices, IN_TABLE).await
    }

    /// The closed attempts that lack no page, at these slices or their parts, the older first.
    pub async fn whole_attempts(
        &self,
        table: &DataTable,
        slices: &Slices,
    ) -> Result<Vec<Attempt>, StoreError> {
        self.attempts(table, slices, WHOLE).await
    }

    async fn attempts(
        &self,
        table: &DataTable,
        slices: &Slices,
        which: &str,
    ) -> Result<Vec<Attempt>, StoreError> {
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
             order by coalesce(p.top, p.id), p.id"
        );
        let (from, to) = slices.days.unzip();
        let params: [&(dyn ToSql + Sync); 6] =
            [&table.source, &table.stream, &slices.accounts, &from, &to, &table.decode_hash];
        let rows = tx.query(&sql, &params).await?;
        let count = |r: &tokio_postgres::Row, name| r.get::<_, i64>(name) as u64;
        Ok(rows
            .iter()
            .map(|r| Attempt {
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
                "select b.page, g.requested_at, g.keys, b.body from pagemill.responses b \
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
                keys: r.get::<_, Option<_>>("keys").unwrap_or_default(),
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
        Ok(rows.iter().map(|r| r.get::<_, i32>("page") as u32).collect())
    }

    /// Stores pages of one partition as they are read now, in one transaction: their rows, which
    /// keep their fence and give way to later requests as ever, and what the ledger says of them.
    /// A page that was fetched again meanwhile is left alone.
    ///
    /// # Errors
    /// As PostgreSQL says; nothing is written then.
    pub async fn rewrite(&self, table: &DataTable, pages: &[PageWrite]) -> Result<Rewritten, StoreError> {
        if pages.is_empty() {
            return Ok(Rewritten::default());
        }
        with_retry(|| self.try_rewrite(table, pages)).await
    }

    async fn try_rewrite(&self, table: &DataTable, pages: &[PageWrite]) -> Result<Rewritten, StoreError> {
        let partition = pages[0].job.partition;
        if pages.iter().any(|page| page.job.partition != partition) {
            return Err(StoreError::new(StoreErrorKind::Invalid, "pages of several partitions at once"));
        }
        let mut client = self.database.client().await?;
        let upsert = client.prepare_cached(&table.rewrite).await?;
        let tx = client.transaction().await?;
        if is_superseded(&tx, partition).await? {
            return Ok(Rewritten { rows: 0, superseded: true });
        }
        let numbers: Vec<i32> = pages.iter().map(|page| page.job.page as i32).collect();
        // In the order in which collectors lock them.
        let there = tx
            .query(
                "select page, requested_at, content_hash from pagemill.pages where partition = $1 and page = any($2) \
                 order by page for no key update",
                &[&partition, &numbers],
            )
            .await?;
        let is_there = |page: &&PageWrite| {
            there.iter().any(|r| {
                (r.get::<_, i32>("page"), r.get::<_, Option<Timestamp>>("requested_at"))
                    == (page.job.page as i32, Some(page.requested_at))
            })
        };
        let kept: Vec<&PageWrite> = pages.iter().filter(is_there).collect();
        let hash = |page: &&PageWrite| page.content_hash;
        let before = there
            .iter()
            .filter(|r| kept.iter().any(|page| page.job.page as i32 == r.get::<_, i32>("page")))
            .map(|r| r.get::<_, Option<i64>>("content_hash").unwrap_or(0));
        let moved =
            kept.iter().map(hash).fold(0, i64::wrapping_add).wrapping_sub(before.fold(0, i64::wrapping_add));
        update_ledger(&tx, table, partition, &kept).await?;
        let rows = RowParams::new(table, &kept).upsert(&tx, &upsert).await?;
        update_proof(&tx, partition, moved).await?;
        fail::fail_point!("reload-before-commit");
        tx.commit().await?;
        fail::fail_point!("reload-after-commit");
        Ok(Rewritten { rows, superseded: false })
    }
}

/// Whether a newer attempt is sealed: its rows are the slice's then, and those that it lacks may
/// have been deleted. None is sealed until the transaction ends.
async fn is_superseded(tx: &Transaction<'_>, partition: i64) -> Result<bool, StoreError> {
    let states = tx
        .query(
            "select n.id > w.id and n.parent is null and n.state = 'sealed' as newer_sealed from pagemill.partitions p \
             join pagemill.partitions w on w.id = coalesce(p.top, p.id) \
             join pagemill.partitions n on n.id = p.id or (n.parent is null and n.id >= w.id \
                 and (n.source, n.stream, n.account, n.from_date, n.to_date) = (w.source, w.stream, w.account, w.from_date, w.to_date)) \
             where p.id = $1 order by n.id for key share of n",
            &[&partition],
        )
        .await?;
    Ok(states.iter().any(|r| r.get("newer_sealed")))
}

async fn update_ledger(
    tx: &Transaction<'_>,
    table: &DataTable,
    partition: i64,
    pages: &[&PageWrite],
) -> Result<(), StoreError> {
    let numbers: Vec<i32> = pages.iter().map(|page| page.job.page as i32).collect();
    let rows: Vec<i32> = pages.iter().map(|page| page.keys.len() as i32).collect();
    let keys: Vec<i64> = pages.iter().flat_map(|page| &page.keys).copied().collect();
    let hashes: Vec<i64> = pages.iter().map(|page| page.content_hash).collect();
    let casts: Vec<Option<Value>> =
        pages.iter().map(|page| (!page.casts.is_empty()).then(|| json!(page.casts))).collect();
    let facts: Vec<Option<&Value>> = pages.iter().map(|page| page.facts.as_ref()).collect();
    let params: [&(dyn ToSql + Sync); 7] = [&partition, &numbers, &rows, &keys, &hashes, &casts, &facts];
    tx.execute(
        "update pagemill.pages p set rows = u.rows, keys = ($4::bigint[])[u.past - u.rows + 1 : u.past], \
             content_hash = u.content_hash, casts = u.casts, facts = u.facts \
         from (select *, sum(rows) over (order by n)::int as past \
               from unnest($2::int[], $3::int[], $5::bigint[], $6::jsonb[], $7::jsonb[]) with ordinality \
                    as a(page, rows, content_hash, casts, facts, n)) u \
         where p.partition = $1 and p.page = u.page",
        &params,
    )
    .await?;
    tx.execute(
        "update pagemill.responses set decode_hash = $3 where partition = $1 and page = any($2)",
        &[&partition, &numbers, &table.decode_hash],
    )
    .await?;
    Ok(())
}

/// A certificate's content hash is the sum of its pages', or of its parts': it goes on with them.
/// What else the seal found stays as it was.
async fn update_proof(tx: &Transaction<'_>, partition: i64, moved: i64) -> Result<(), StoreError> {
    if moved == 0 {
        return Ok(());
    }
    let proofs = tx
        .query(
            "with recursive whole as (select id, parent from pagemill.partitions where id = $1 and parts is null \
                 union select p.id, p.parent from whole join pagemill.partitions p on p.id = whole.parent) \
             select p.id, p.proof->>'content_hash' as content_hash from pagemill.partitions p join whole using (id) \
             where p.proof ? 'content_hash' order by p.id for no key update of p",
            &[&partition],
        )
        .await?;
    for row in proofs {
        let hash =
            u64::from_str_radix(row.get("content_hash"), 16).unwrap_or_default().wrapping_add(moved as u64);
        tx.execute(
            "update pagemill.partitions set proof = jsonb_set(proof, '{content_hash}', to_jsonb($2::text)) where id = $1",
            &[&row.get::<_, i64>("id"), &format!("{hash:016x}")],
        )
        .await?;
    }
    Ok(())
}
