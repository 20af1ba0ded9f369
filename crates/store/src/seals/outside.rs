//! Rows of other days or accounts that the pages of a partition brought. They are not stored.

use std::collections::HashMap;

use deadpool_postgres::Transaction;
use pagemill_core::OutsideFacts;
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;

use super::Seals;
use crate::{error::StoreError, partitions::PartitionRow, table::DataTable};

/// What the done pages say of such rows; `$2`, `$3` are the partition's first and last page.
const OUTSIDE: &str = "with pages as (\
        select page, facts->'outside' as outside from pagemill.pages \
        where partition = $1 and page between $2 and $3 and state = 'done' and facts ? 'outside') \
    select sum((outside->>'rows')::bigint)::bigint as rows, \
        (select count(distinct key) from pages, jsonb_array_elements_text(outside->'keys') as key) as distinct_keys, \
        (select outside->>'example' from pages order by page limit 1) as example \
    from pages";

impl Seals {
    /// The number of rows that were dropped of each sealed partition of a run, by partition; of others none.
    pub async fn dropped_rows(&self, run: i64) -> Result<HashMap<i64, u64>, StoreError> {
        let client = self.database.client().await?;
        let rows = client
            .query(
                "select p.id, (p.proof->'outside'->>'rows')::bigint as rows from pagemill.run_partitions rp \
                 join pagemill.partitions p on p.id = rp.partition \
                 where rp.run = $1 and p.state = 'sealed' and p.proof->'outside'->>'rows' is not null",
                &[&run],
            )
            .await?;
        Ok(rows.iter().map(|r| (r.get("id"), r.get::<_, i64>("rows") as u64)).collect())
    }
}

/// The rows of a partition's pages; `None` if there are none.
pub(super) async fn of_pages(
    tx: &Transaction<'_>,
    range: &[&(dyn ToSql + Sync); 3],
    table: Option<&DataTable>,
) -> Result<Option<OutsideFacts>, StoreError> {
    let row = tx.query_one(OUTSIDE, range).await?;
    Ok(row.get::<_, Option<i64>>("rows").map(|rows| OutsideFacts {
        rows: rows as u64,
        distinct_keys: row.get::<_, i64>("distinct_keys") as u64,
        example: row.get::<_, Option<String>>("example").unwrap_or_default(),
        dropped: may_be_dropped(table),
    }))
}

/// The rows of closed parts together, by their proofs.
pub(super) fn of_parts(proofs: &[Value], table: Option<&DataTable>) -> Option<OutsideFacts> {
    let mut of_parts = proofs.iter().map(|proof| &proof["outside"]).filter(|outside| outside.is_object());
    let rows = |outside: &Value| outside["rows"].as_u64().unwrap_or(0);
    let first = of_parts.next()?;
    let rows = rows(first) + of_parts.map(rows).sum::<u64>();
    let example = first["example"].as_str().unwrap_or_default().to_owned();
    Some(OutsideFacts { rows, distinct_keys: rows, example, dropped: may_be_dropped(table) })
}

fn may_be_dropped(table: Option<&DataTable>) -> bool {
    table.is_some_and(|table| table.rules.drops_outside)
}

/// As the proof keeps it: null if there are none.
pub(super) fn to_json(outside: Option<&OutsideFacts>) -> Value {
    outside.map_or(Value::Null, |outside| json!({ "rows": outside.rows, "example": outside.example }))
}

/// A warning that rows were dropped, on the seal of a whole.
pub(super) fn warning(partition: &PartitionRow, outside: Option<&OutsideFacts>) -> Option<String> {
    let OutsideFacts { rows, example, .. } =
        outside.filter(|outside| outside.dropped && partition.parent.is_none())?;
    Some(format!("{rows} rows of other days or accounts were dropped, such as {example}"))
}
