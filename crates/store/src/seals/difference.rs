//! What a staged attempt changes in its table.

use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;

use super::gone::find_keys;
use crate::{
    error::{StoreError, StoreErrorKind},
    partitions::PartitionRow,
    table::{BACK, CHANGED, DataTable, GONE, NEW},
};

/// Rows that a seal changed in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Rows that were not there.
    pub added: u64,
    /// Rows that have other values now.
    pub changed: u64,
    /// Rows that were deleted.
    pub gone: u64,
    /// The slice's rows and the bit_xor of their hashes, if they follow from what was there.
    pub(super) digest: Option<(i64, i64)>,
}

/// The difference between the table and a staged attempt, collected by key in the temporary table.
pub(super) struct Difference {
    kinds: Kinds,
    /// The attempt's partitions that have rows.
    family: Vec<i64>,
    /// True if every row of the slice in the table goes or changes,
    replaces_all: bool,
    /// and if every staged row is new or changed.
    inserts_all: bool,
    /// The baseline's count and digest.
    baseline: Option<(i64, i64)>,
}

/// How many rows differ, by the kind of the difference.
struct Kinds {
    new: i64,
    changed: i64,
    gone: i64,
    back: i64,
}

/// The pages of a baseline that are no longer the same, and the keys that the attempt has no more.
const GONE_KEYS: &str = "with pages as (\
        select b.key_hashes as before, a.key_hashes as after from (select * from pagemill.pages where partition = $1 and state = 'done') b \
        full join (select * from pagemill.pages where partition = $2 and state = 'done') a on a.page = b.page \
        where a.row_hashes is distinct from b.row_hashes) \
    select coalesce(array_agg(key order by key), '{}') as keys from (\
        select unnest(before) as key from pages except select unnest(after) from pages) k";

impl Difference {
    /// The difference of an attempt of which all rows are staged: `None` if they are not.
    pub(super) async fn of_all(
        tx: &Transaction<'_>,
        table: &DataTable,
        partition: &PartitionRow,
        keys: i64,
    ) -> Result<Option<Self>, StoreError> {
        let family = unsplit(tx, partition.id).await?;
        let staged = staged_rows(tx, table, &family).await?;
        if staged != keys {
            return Ok(None);
        }
        collect(tx, table, partition, &family, &table.difference_sql()).await?;
        let kinds = count(tx, table).await?;
        let all = kinds.inserted() == staged;
        let replaces_all = all && !table.rules.keeps_missing;
        Ok(Some(Self { kinds, family, replaces_all, inserts_all: all, baseline: None }))
    }

    /// The difference of an attempt whose rows are those of its baseline, but for those that are staged: `None` if that
    /// does not come to the keys that were proved.
    pub(super) async fn from_baseline(
        tx: &Transaction<'_>,
        table: &DataTable,
        partition: &PartitionRow,
        baseline: i64,
        keys: i64,
    ) -> Result<Option<Self>, StoreError> {
        let counted = tx
            .query_opt(
                "select row_count, digest from pagemill.partitions where id = $1 and digest is not null and pruned_at is null for share",
                &[&baseline],
            )
            .await?;
        let Some(counted) = counted else { return Ok(None) };
        let (rows, digest): (i64, i64) = (counted.get("row_count"), counted.get("digest"));
        if slice_rows(tx, table, partition).await? != rows {
            return Ok(None);
        }
        let family = unsplit(tx, partition.id).await?;
        let staged = staged_rows(tx, table, &family).await?;
        // A look into the primary key for each row is the better plan only for few.
        if staged * 10 > rows {
            tx.batch_execute("set local enable_nestloop = off").await?;
        }
        collect(tx, table, partition, &family, &table.staged_difference_sql()).await?;
        let gone: Vec<i64> = tx.query_one(GONE_KEYS, &[&baseline, &partition.id]).await?.get("keys");
        note_gone(tx, table, partition, &gone).await?;
        let kinds = count(tx, table).await?;
        if kinds.gone != gone.len() as i64 || rows - kinds.gone + kinds.new + kinds.back != keys {
            return Ok(None);
        }
        let keeps_missing = table.rules.keeps_missing;
        Ok(Some(Self {
            replaces_all: kinds.changed + kinds.gone == rows && !keeps_missing,
            inserts_all: kinds.inserted() == staged,
            baseline: (!keeps_missing).then_some((rows, digest)),
            kinds,
            family,
        }))
    }

    /// Deletes and inserts what differs.
    pub(super) async fn apply(
        self,
        tx: &Transaction<'_>,
        table: &DataTable,
        partition: &PartitionRow,
    ) -> Result<Replaced, StoreError> {
        let Kinds { new, changed, gone, back } = self.kinds;
        let slice = &partition.slice;
        let of_slice: [&(dyn ToSql + Sync); 3] = [&slice.account, &slice.from, &slice.to];
        let mut hashes = 0;
        let (mut deleted, mut kinds) = (changed + gone + back, vec![CHANGED, GONE, BACK]);
        if table.rules.keeps_missing && gone > 0 {
            expect(tx.execute(&table.mark_gone_sql(), &of_slice).await? as i64, gone)?;
            (deleted, kinds) = (changed + back, vec![CHANGED, BACK]);
        }
        if deleted > 0 {
            let sql = match self.replaces_all {
                true => table.delete_slice_sql(),
                false => table.delete_differing_sql(&kinds),
            };
            hashes ^= change(tx, &sql, &of_slice, deleted).await?;
        }
        let inserted = new + changed + back;
        if inserted > 0 {
            let sql = table.insert_staged_sql(self.inserts_all);
            hashes ^= change(tx, &sql, &[&self.family, &partition.run], inserted).await?;
        }
        let digest = self.baseline.map(|(rows, digest)| (rows - gone + new, digest ^ hashes));
        let [added, changed, gone] = [new + back, changed, gone].map(|count| count as u64);
        Ok(Replaced { added, changed, gone, digest })
    }
}

impl Kinds {
    /// Rows that are inserted.
    fn inserted(&self) -> i64 {
        self.new + self.changed + self.back
    }
}

/// Changes so many rows of the table `t`; returns the bit_xor of their hashes.
async fn change(
    tx: &Transaction<'_>,
    change: &str,
    params: &[&(dyn ToSql + Sync)],
    expected: i64,
) -> Result<i64, StoreError> {
    let sql = format!(
        "with changed as ({change} returning hash_record_extended(t.*, 0) as hash) \
         select count(*) as rows, coalesce(bit_xor(hash), 0) as digest from changed"
    );
    let row = tx.query_one(&sql, params).await?;
    expect(row.get("rows"), expected)?;
    Ok(row.get("digest"))
}

/// How many rows the slice has in the table.
async fn slice_rows(
    tx: &Transaction<'_>,
    table: &DataTable,
    partition: &PartitionRow,
) -> Result<i64, StoreError> {
    let slice = &partition.slice;
    let sql = format!("select count(*) as rows from {} where {}", table.name, table.slice_condition());
    Ok(tx.query_one(&sql, &[&slice.account, &slice.from, &slice.to]).await?.get("rows"))
}

/// The partitions of an attempt that have its rows: itself, or its parts.
async fn unsplit(tx: &Transaction<'_>, attempt: i64) -> Result<Vec<i64>, StoreError> {
    let sql =
        "select id from pagemill.partitions where coalesce(root, id) = $1 and parts is null order by id";
    Ok(tx.query(sql, &[&attempt]).await?.iter().map(|row| row.get("id")).collect())
}

/// How many rows are staged, once those of pages are deleted that are no longer the attempt's.
async fn staged_rows(tx: &Transaction<'_>, table: &DataTable, family: &[i64]) -> Result<i64, StoreError> {
    let left =
        "select exists (select from pagemill.pages where partition = any($1) and state <> 'done') as found";
    if tx.query_one(left, &[&family]).await?.get("found") {
        let sql = format!(
            "delete from {} s using pagemill.pages g where s._partition = any($1) \
             and g.partition = s._partition and g.page = s._page and g.state <> 'done'",
            table.staged
        );
        tx.execute(&sql, &[&family]).await?;
    }
    let sql = format!("select count(*) as rows from {} where _partition = any($1)", table.staged);
    Ok(tx.query_one(&sql, &[&family]).await?.get("rows"))
}

async fn collect(
    tx: &Transaction<'_>,
    table: &DataTable,
    partition: &PartitionRow,
    family: &Vec<i64>,
    sql: &str,
) -> Result<(), StoreError> {
    tx.batch_execute(&table.create_difference_sql()).await?;
    let slice = &partition.slice;
    tx.execute(sql, &[&slice.account, &slice.from, &slice.to, family]).await?;
    Ok(())
}

async fn count(tx: &Transaction<'_>, table: &DataTable) -> Result<Kinds, StoreError> {
    let sql = format!(
        "select count(*) filter (where _kind = {NEW}) as new, count(*) filter (where _kind = {CHANGED}) as changed, \
             count(*) filter (where _kind = {GONE}) as gone, count(*) filter (where _kind = {BACK}) as back from {}",
        table.difference()
    );
    let row = tx.query_one(&sql, &[]).await?;
    Ok(Kinds {
        new: row.get("new"),
        changed: row.get("changed"),
        gone: row.get("gone"),
        back: row.get("back"),
    })
}

/// Looks the keys up by their hashes among the slice's rows, and notes them as gone.
async fn note_gone(
    tx: &Transaction<'_>,
    table: &DataTable,
    partition: &PartitionRow,
    gone: &[i64],
) -> Result<(), StoreError> {
    if gone.is_empty() {
        return Ok(());
    }
    for found in find_keys(tx, table, partition, |hash| gone.binary_search(&hash).is_ok()).await? {
        found.execute(tx, table, &table.note_gone_sql()).await?;
    }
    Ok(())
}

/// A row that somebody changes between two statements is not where it was: the whole is done again.
fn expect(rows: i64, expected: i64) -> Result<(), StoreError> {
    if rows == expected {
        return Ok(());
    }
    let what = format!("{rows} rows changed where {expected} differ: somebody else writes to the table");
    Err(StoreError::new(StoreErrorKind::Retriable, what))
}
