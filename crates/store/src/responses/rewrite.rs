//! Rows of stored responses that are decoded again.

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;

use super::Responses;
use crate::{
    error::StoreError, error::StoreErrorKind, page_write::PageWrite, retry::with_retry, rows::RowParams,
    table::DataTable,
};

/// What became of pages that were read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// Rows that changed or were not there.
    pub rows: u64,
    /// A newer attempt at the slice has been sealed meanwhile: nothing was written.
    pub superseded: bool,
}

impl Responses {
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
        // In the order in which batches lock them.
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

/// True if a newer attempt is sealed: its rows are the slice's then, and those that it lacks may
/// have been deleted. None is sealed until the transaction ends.
async fn is_superseded(tx: &Transaction<'_>, partition: i64) -> Result<bool, StoreError> {
    let states = tx
        .query(
            "select n.id > w.id and n.parent is null and n.state = 'sealed' as newer_sealed from pagemill.partitions p \
             join pagemill.partitions w on w.id = coalesce(p.root, p.id) \
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
    let rows: Vec<i32> = pages.iter().map(|page| page.key_hashes.len() as i32).collect();
    let keys: Vec<i64> = pages.iter().flat_map(|page| &page.key_hashes).copied().collect();
    let hashes: Vec<i64> = pages.iter().map(|page| page.content_hash).collect();
    let cast_failures: Vec<Option<Value>> = pages
        .iter()
        .map(|page| (!page.cast_failures.is_empty()).then(|| json!(page.cast_failures)))
        .collect();
    let facts: Vec<Option<&Value>> = pages.iter().map(|page| page.facts.as_ref()).collect();
    let params: [&(dyn ToSql + Sync); 7] =
        [&partition, &numbers, &rows, &keys, &hashes, &cast_failures, &facts];
    tx.execute(
        "update pagemill.pages p set rows = u.rows, key_hashes = ($4::bigint[])[u.past - u.rows + 1 : u.past], \
             content_hash = u.content_hash, cast_failures = u.cast_failures, facts = u.facts \
         from (select *, sum(rows) over (order by n)::int as past \
               from unnest($2::int[], $3::int[], $5::bigint[], $6::jsonb[], $7::jsonb[]) with ordinality \
                    as a(page, rows, content_hash, cast_failures, facts, n)) u \
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
