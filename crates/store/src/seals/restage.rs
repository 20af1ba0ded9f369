//! Pulls the rows of an attempt again, beside the table: what its pages wrote or staged is not what the table needs now.

use deadpool_postgres::Transaction;

use crate::error::StoreError;
use crate::partitions::{PARTITION_COLUMNS, PartitionRow, Reissued};

const RAISE: &str = "update pagemill.pages set generation = generation + 1, state = 'planned', attempts = 0 \
    where partition = any($1) and state = 'done'";

const MISSING: &str = "select n as page, coalesce(g.generation, 0) as generation from generate_series($2::int, $3::int) as n \
    left join pagemill.pages g on g.partition = $1 and g.page = n where coalesce(g.state, 'planned') = 'planned' order by n";

/// Reopens a whole attempt that lacks no page, its parts included: all its pages get a new generation, and their rows will
/// be staged, without a baseline.
pub(super) async fn restage(tx: &Transaction<'_>, attempt: i64) -> Result<Vec<Reissued>, StoreError> {
    let reopen = format!(
        "update pagemill.partitions p set state = 'open', write_mode = 'staged', baseline_attempt = null, end_page = null, \
             done = case when p.parts is null then 0 else p.done end, proof = null, reason = null, closed_at = null, progressed_at = now() \
         where coalesce(p.root, p.id) = $1 returning {PARTITION_COLUMNS}"
    );
    let rows = tx.query(&reopen, &[&attempt]).await?;
    let unsplit: Vec<PartitionRow> =
        rows.iter().map(PartitionRow::from_row).filter(|partition| partition.parts.is_none()).collect();
    let ids: Vec<i64> = unsplit.iter().map(|partition| partition.id).collect();
    tx.execute(RAISE, &[&ids]).await?;
    let mut reissued = Vec::with_capacity(unsplit.len());
    for partition in unsplit {
        let first = partition.progress.first_page;
        let last = if partition.chained { first } else { partition.progress.last_page.unwrap_or(first) };
        let pages = tx.query(MISSING, &[&partition.id, &(first as i32), &(last as i32)]).await?;
        let job = |row: &tokio_postgres::Row| {
            partition.job(row.get::<_, i32>("page") as u32, row.get::<_, i32>("generation") as u32)
        };
        let jobs = pages.iter().map(job).collect();
        reissued.push(Reissued { partition, jobs });
    }
    Ok(reissued)
}
