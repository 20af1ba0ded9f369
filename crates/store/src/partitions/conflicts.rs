//! Slices that can hold the same row conflict.

use deadpool_postgres::Transaction;

use crate::error::StoreError;

/// True if the partitions `p` and `o` are attempts at slices that conflict.
pub(crate) const CONFLICT: &str = "(o.source, o.stream, o.row_account) = (p.source, p.stream, p.row_account) \
    and case p.date_scope when 'within' then o.from_date <= p.to_date and o.to_date >= p.from_date \
        when 'exact' then (o.from_date, o.to_date) = (p.from_date, p.to_date) else true end";

/// True if the sealed cell `c` conflicts with the slice of partition `p`.
pub(crate) const CONFLICTING_CELL: &str = "(c.source, c.stream, c.account) = (p.source, p.stream, p.row_account) \
    and case p.date_scope when 'within' then c.from_date between p.from_date and p.to_date \
        when 'exact' then (c.from_date, c.to_date) = (p.from_date, p.to_date) else true end";

/// The run of a newer attempt that has sealed a conflicting slice.
pub(super) async fn newer_seal(tx: &Transaction<'_>, partition: i64) -> Result<Option<i64>, StoreError> {
    let sql = format!(
        "select newer.run from pagemill.partitions p join pagemill.sealed_cells c on {CONFLICTING_CELL} \
         join pagemill.partitions newer on newer.id = c.attempt where p.id = $1 and c.attempt > p.id order by c.attempt desc limit 1"
    );
    Ok(tx.query_opt(&sql, &[&partition]).await?.map(|row| row.get("run")))
}

/// True if another attempt at a conflicting slice still writes rows into the table.
pub(super) async fn is_written_to(tx: &Transaction<'_>, partition: i64) -> Result<bool, StoreError> {
    let sql = format!(
        "select exists (select from pagemill.partitions p join pagemill.partitions o on {CONFLICT} \
             where p.id = $1 and o.id <> p.id and o.state in ('open', 'proved', 'held') and o.write_mode = 'direct' and o.parent is null) as found"
    );
    Ok(tx.query_one(&sql, &[&partition]).await?.get("found"))
}
