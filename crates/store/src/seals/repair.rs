//! Repairs a partition whose proof failed: suspected pages are fetched again.

use deadpool_postgres::Transaction;
use pagemill_core::{IncompleteReason, PageJob};

use crate::error::StoreError;
use crate::partitions::{PARTITION_COLUMNS, PartitionRow, Reissued};

/// Reissues the suspected pages: those that state another total than the API's latest word, hold a
/// key that came twice, or are short, and their neighbours; where nothing points to a page, and in the
/// last round, all of them. A chain begins again at its first page.
pub(super) async fn repair(
    tx: &Transaction<'_>,
    partition: &PartitionRow,
    total: Option<i64>,
    reason: &IncompleteReason,
    last_round: bool,
) -> Result<Reissued, StoreError> {
    tx.execute(
        "update pagemill.partitions set repair_rounds = repair_rounds + 1, end_page = null, progressed_at = now() where id = $1",
        &[&partition.id],
    )
    .await?;
    let repaired = take_total(tx, partition.id, total).await?;
    let first = partition.progress.first_page as i32;
    let last = repaired.progress.last_page.map_or(i32::MAX, |last| last as i32);
    let all = partition.chained || last_round || matches!(reason, IncompleteReason::SumsDiffer(_));
    let suspected: Vec<i32> = if all { Vec::new() } else { suspected_pages(tx, &repaired, last).await? };
    tx.execute(
        "update pagemill.pages set generation = generation + 1, state = 'planned', attempts = 0 \
         where partition = $1 and state = 'done' and (cardinality($2::int[]) = 0 or page = any($2))",
        &[&partition.id, &suspected],
    )
    .await?;
    let repaired = recount(tx, partition.id).await?;
    let last_issued = if partition.chained { first } else { last };
    let pages = tx
        .query(
            "select n as page, coalesce(g.generation, 0) as generation from generate_series($2::int, $3::int) as n \
             left join pagemill.pages g on g.partition = $1 and g.page = n where coalesce(g.state, 'planned') = 'planned' order by n",
            &[&partition.id, &first, &last_issued],
        )
        .await?;
    let job = |r: &tokio_postgres::Row| -> PageJob {
        repaired.job(r.get::<_, i32>("page") as u32, r.get::<_, i32>("generation") as u32)
    };
    let jobs = pages.iter().map(job).collect();
    Ok(Reissued { partition: repaired, jobs })
}

/// Takes the API's latest word on the total. Pages beyond its last page are no longer wanted. Their rows stay with a
/// new generation, so that a response that is still under way is refused, also if the total grows again.
pub(super) async fn take_total(
    tx: &Transaction<'_>,
    partition: i64,
    total: Option<i64>,
) -> Result<PartitionRow, StoreError> {
    tx.execute("update pagemill.partitions set total = $2 where id = $1", &[&partition, &total]).await?;
    tx.execute(
        "update pagemill.pages g set generation = g.generation + 1, state = 'planned', attempts = 0, requested_at = null \
         from pagemill.partitions p where p.id = $1 and g.partition = $1 and g.page > p.last_page and g.state <> 'planned'",
        &[&partition],
    )
    .await?;
    recount(tx, partition).await
}

async fn recount(tx: &Transaction<'_>, partition: i64) -> Result<PartitionRow, StoreError> {
    let sql = format!(
        "update pagemill.partitions p set \
             done = (select count(*) from pagemill.pages where partition = $1 and state = 'done') \
         where p.id = $1 returning {PARTITION_COLUMNS}"
    );
    Ok(PartitionRow::from_row(&tx.query_one(&sql, &[&partition]).await?))
}

async fn suspected_pages(
    tx: &Transaction<'_>,
    partition: &PartitionRow,
    last: i32,
) -> Result<Vec<i32>, StoreError> {
    let rows = tx
        .query(
            "with pages as (select page, total, key_hashes, facts->'outside' as outside, \
                    rows + coalesce((facts->'outside'->>'rows')::int, 0) as rows \
                 from pagemill.pages where partition = $1 and state = 'done'), \
             keys as (select page, unnest(key_hashes) as key from pages \
                 union all select page, jsonb_array_elements_text(outside->'keys')::bigint from pages), \
             twice as (select key from keys group by key having count(*) > 1), \
             odd as (select page from pages where total <> $2 \
                 union select k.page from keys k join twice t using (key) \
                 union select page from pages where rows <> case when page = $3 then $2 - (page - 1)::bigint * $4 else $4 end) \
             select distinct p.page from pages p join odd o on p.page between o.page - 1 and o.page + 1 order by 1",
            &[&partition.id, &partition.progress.total, &last, &i64::from(partition.page_size)],
        )
        .await?;
    Ok(rows.iter().map(|r| r.get("page")).collect())
}
