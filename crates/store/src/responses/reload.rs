//! Reloads: attempts whose pages are the stored responses of an earlier one.

use std::collections::HashMap;

use deadpool_postgres::Transaction;

use super::Responses;
use crate::{
    error::StoreError,
    partitions::{CONFLICT, PARTITION_COLUMNS, PartitionRow},
    runs::PLAN_LOCK,
};

/// An attempt that is to be read again.
#[derive(Clone, Debug)]
pub enum Reload {
    /// Its partitions, each with the one whose responses are its pages; the whole comes first.
    Open(Vec<(PartitionRow, i64)>),
    /// The slice is being pulled by this run: its rows are about to be replaced anyhow.
    Pulled(i64),
    /// Newer attempts have replaced it, or a part of it.
    Replaced,
}

/// The pulls at the slice that are not closed.
const PULLED_BY: &str = "select o.run from pagemill.partitions p join pagemill.partitions o on o.parent is null and o.reload_of is null \
    and o.state in ('open', 'proved', 'held') and o.id <> p.id";

/// Closes the reloads that were left unfinished.
const CLOSE_LEFT: &str = "update pagemill.partitions f set state = 'incomplete', reason = 'superseded by a newer reload', closed_at = now() \
    from pagemill.partitions p join pagemill.partitions o on o.parent is null and o.reload_of is not null";

impl Responses {
    /// Opens an attempt whose pages are the stored responses of a sealed one, its parts included. A reload that was left
    /// unfinished is closed.
    pub async fn open_reload(&self, attempt: i64) -> Result<Reload, StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        // No plan meanwhile: it might pull what is opened here.
        tx.batch_execute(PLAN_LOCK).await?;
        tx.batch_execute("select pagemill.open_month(current_date)").await?;
        let pulled_by = format!("{PULLED_BY} and {CONFLICT} where p.id = $1 limit 1");
        if let Some(row) = tx.query_opt(&pulled_by, &[&attempt]).await? {
            return Ok(Reload::Pulled(row.get("run")));
        }
        if !holds_all_cells(&tx, attempt).await? {
            return Ok(Reload::Replaced);
        }
        let close_left = format!(
            "{CLOSE_LEFT} and {CONFLICT} where p.id = $1 and coalesce(f.root, f.id) = o.id and f.state in ('open', 'proved')"
        );
        tx.execute(&close_left, &[&attempt]).await?;
        let sql =
            "select id, parent, root from pagemill.partitions where coalesce(root, id) = $1 order by id";
        let mut copies: HashMap<i64, i64> = HashMap::new();
        let mut opened = Vec::new();
        for old in tx.query(sql, &[&attempt]).await? {
            let copy_of = |name| old.get::<_, Option<i64>>(name).and_then(|id| copies.get(&id).copied());
            let (id, parent, root): (i64, _, _) = (old.get("id"), copy_of("parent"), copy_of("root"));
            let copy = copy_of_partition(&tx, id, parent, root).await?;
            copies.insert(id, copy.id);
            opened.push((copy, id));
        }
        tx.commit().await?;
        Ok(Reload::Open(opened))
    }
}

/// Opens a partition as another is, without its pages.
async fn copy_of_partition(
    tx: &Transaction<'_>,
    of: i64,
    parent: Option<i64>,
    root: Option<i64>,
) -> Result<PartitionRow, StoreError> {
    let sql = format!(
        "insert into pagemill.partitions as p (run, source, stream, account, from_date, to_date, lane, page_size, part, date_scope, \
             row_account, chained, total, parts, write_mode, reload_of, published_at, parent, root) \
         select o.run, o.source, o.stream, o.account, o.from_date, o.to_date, o.lane, o.page_size, o.part, o.date_scope, \
             o.row_account, o.chained, o.total, o.parts, 'staged', coalesce(o.reload_of, o.id), now(), $2, $3 from pagemill.partitions o where o.id = $1 \
         returning {PARTITION_COLUMNS}"
    );
    Ok(PartitionRow::from_row(&tx.query_one(&sql, &[&of, &parent, &root]).await?))
}

/// True if the table has the attempt's rows, for all of its slice.
async fn holds_all_cells(tx: &Transaction<'_>, attempt: i64) -> Result<bool, StoreError> {
    let sql = "select count(c.attempt) = case p.date_scope when 'within' then p.to_date - p.from_date + 1 else 1 end as found \
        from pagemill.partitions p left join pagemill.sealed_cells c on c.attempt = p.id where p.id = $1 group by p.id";
    Ok(tx.query_opt(sql, &[&attempt]).await?.is_some_and(|row| row.get("found")))
}
