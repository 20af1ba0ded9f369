//! Sealed cells: which attempt's rows the table has.

use deadpool_postgres::Transaction;

use crate::error::StoreError;
use crate::partitions::{CONFLICTING_CELL, PartitionRow};

/// Notes that the table has the rows of this attempt, in place of all attempts at what its slice covers.
pub(super) async fn take_cells(tx: &Transaction<'_>, partition: &PartitionRow) -> Result<(), StoreError> {
    for sql in [
        // Another slice of the whole account has another cell.
        "delete from pagemill.sealed_cells c using pagemill.partitions p where p.id = $1 and p.date_scope = 'whole' \
            and (c.source, c.stream, c.account) = (p.source, p.stream, p.row_account)",
        "insert into pagemill.sealed_cells (source, stream, account, from_date, to_date, attempt) \
            select p.source, p.stream, p.row_account, cell.first, cell.last, p.id from pagemill.partitions p \
            cross join lateral (select d::date, d::date from generate_series(p.from_date, p.to_date, interval '1 day') as d where p.date_scope = 'within' \
                union all select p.from_date, p.to_date where p.date_scope <> 'within') as cell(first, last) where p.id = $1 \
            on conflict (source, stream, account, from_date, to_date) do update set attempt = excluded.attempt",
    ] {
        tx.execute(sql, &[&partition.id]).await?;
    }
    Ok(())
}

/// The attempt at the same slice whose rows the table has for all of it. `None` if there is none, or several share it.
pub(super) async fn attempt_in_table(
    tx: &Transaction<'_>,
    partition: i64,
) -> Result<Option<i64>, StoreError> {
    let sql = format!(
        "select min(c.attempt) as attempt from pagemill.partitions p join pagemill.sealed_cells c on {CONFLICTING_CELL} \
         join pagemill.partitions o on o.id = c.attempt and (o.from_date, o.to_date) = (p.from_date, p.to_date) \
         where p.id = $1 group by p.id, p.from_date, p.to_date, p.date_scope \
         having min(c.attempt) = max(c.attempt) \
            and count(*) = case p.date_scope when 'within' then p.to_date - p.from_date + 1 else 1 end"
    );
    Ok(tx.query_opt(&sql, &[&partition]).await?.and_then(|row| row.get("attempt")))
}
