//! The baseline of an attempt: the sealed attempt at the same slice whose rows are in the table unchanged. Only what
//! differs from it is decoded and staged.

use deadpool_postgres::Transaction;
use pagemill_core::{Slice, WriteMode};

use super::{Seals, cells::attempt_in_table, read_partition};
use crate::{error::StoreError, partitions::PartitionRow, table::DataTable};

/// Below so many pages a look at the table costs more than it spares.
const FEWEST_PAGES: u32 = 10;

/// More pages of one attempt are not remembered.
const MOST_PAGES: u32 = 200_000;

/// A sealed attempt as a baseline: its rows have been counted, its pages are kept, and so are their responses, unless `$3` is
/// false. All pages were read by the definition of decode hash `$2`.
const USABLE: &str = "select a.row_count, a.digest from pagemill.partitions a \
    where a.id = $1 and a.state = 'sealed' and a.digest is not null and a.decode_hash is not distinct from $2 and a.parts is null and a.pruned_at is null \
      and (not $3 or (select count(*) from pagemill.responses b where b.partition = a.id) > a.last_page - a.first_page) \
      and (select count(*) = a.last_page - a.first_page + 1 and bool_and(g.state = 'done' and g.row_hashes is not null) from pagemill.pages g \
          where g.partition = a.id and g.page between a.first_page and a.last_page) \
    for share of a";

impl Seals {
    /// Finds the baseline of a staged attempt, before its pages are published, and notes it. `responses`: whether its
    /// responses must be stored. An attempt has no baseline if anybody has changed a row since the seal, by hand too: then
    /// all its rows are staged, which repairs the table.
    pub async fn find_baseline(
        &self,
        table: &DataTable,
        partition: &PartitionRow,
        responses: bool,
    ) -> Result<PartitionRow, StoreError> {
        let pages = partition.planned().map_or(0, |pages| pages.count());
        let is_worth_it = partition.write_mode == WriteMode::Staged
            && partition.parent.is_none()
            && !partition.subset
            && !partition.chained
            && (FEWEST_PAGES..=MOST_PAGES).contains(&pages);
        let mut baseline = None;
        if is_worth_it {
            let mut client = self.database.client().await?;
            let tx = client.transaction().await?;
            tx.batch_execute("set local statement_timeout = '10min'").await?;
            baseline = unchanged_attempt(&tx, table, partition, responses).await?;
            tx.commit().await?;
        }
        if baseline != partition.baseline {
            let sql = "update pagemill.partitions set baseline_attempt = $2 where id = $1";
            self.database.client().await?.execute(sql, &[&partition.id, &baseline]).await?;
        }
        Ok(PartitionRow { baseline, ..partition.clone() })
    }

    /// Counts the rows of a sealed attempt in the table and combines their hashes, by which it can be a baseline. Nothing if
    /// it is counted already, has too few pages for that, or no longer is what the table has.
    pub async fn record_digest(&self, table: &DataTable, partition: i64) -> Result<(), StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        let partition = read_partition(&tx, partition).await?;
        let pages = partition.planned().map_or(0, |pages| pages.count());
        let sql = "select digest is not null as is_counted from pagemill.partitions where id = $1";
        let is_counted: bool = tx.query_one(sql, &[&partition.id]).await?.get("is_counted");
        if is_counted || partition.parts.is_some() || !(FEWEST_PAGES..=MOST_PAGES).contains(&pages) {
            return Ok(());
        }
        tx.batch_execute("set local statement_timeout = '30min'").await?;
        // In its snapshot it is what the table has, if it still is afterwards: an attempt that was replaced never comes back.
        let (rows, digest) = count_rows(&tx, table, &partition.slice).await?;
        if attempt_in_table(&tx, partition.id).await? == Some(partition.id) {
            tx.execute(
                "update pagemill.partitions set row_count = $2, digest = $3 where id = $1 and state = 'sealed' and digest is null \
                     and (proof->>'distinct_keys')::bigint = $2",
                &[&partition.id, &rows, &digest],
            )
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// The sealed attempt whose rows are in the table for all of the partition's slice, and unchanged.
async fn unchanged_attempt(
    tx: &Transaction<'_>,
    table: &DataTable,
    partition: &PartitionRow,
    responses: bool,
) -> Result<Option<i64>, StoreError> {
    let Some(attempt) = attempt_in_table(tx, partition.id).await? else { return Ok(None) };
    let Some(usable) = tx.query_opt(USABLE, &[&attempt, &table.decode_hash, &responses]).await? else {
        return Ok(None);
    };
    let sealed: (i64, i64) = (usable.get("row_count"), usable.get("digest"));
    let is_unchanged = sealed == count_rows(tx, table, &partition.slice).await?;
    Ok(is_unchanged.then_some(attempt))
}

/// Counts the slice's rows, and combines their hashes. The order of rows does not matter. A row is hashed with all its
/// columns, those that Pagemill does not know too.
async fn count_rows(
    tx: &Transaction<'_>,
    table: &DataTable,
    slice: &Slice,
) -> Result<(i64, i64), StoreError> {
    let sql = format!(
        "select count(*) as rows, coalesce(bit_xor(hash_record_extended(t.*, 0)), 0) as digest from {} t where {}",
        table.name,
        table.slice_condition()
    );
    let row = tx.query_one(&sql, &[&slice.account, &slice.from, &slice.to]).await?;
    Ok((row.get("rows"), row.get("digest")))
}
