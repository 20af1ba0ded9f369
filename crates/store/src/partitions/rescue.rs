use std::time::Duration;

use deadpool_postgres::Object;
use pagemill_core::PageJob;
use tokio_postgres::Row;

use super::Partitions;
use super::row::{PARTITION_COLUMNS, PartitionRow};
use crate::error::StoreError;

/// Pages of a partition that are issued again, because it is stalled or its proof failed. The ledger has their
/// new generations; their jobs are to be published.
#[derive(Clone, Debug)]
pub struct Reissued {
    /// The partition.
    pub partition: PartitionRow,
    /// The jobs of these pages. Empty if no page is missing: then the split or the seal is.
    pub jobs: Vec<PageJob>,
}

/// The most pages that one rescue publishes; the next pass takes the rest.
const MOST_PAGES: i64 = 100_000;

impl Partitions {
    /// Claims one partition of a source that has made no progress for `idle` although it is
    /// published (or its producer's lease has run out), raises the generation of its missing pages,
    /// and returns them. Claiming counts as progress, so two rescuers never take the same.
    pub async fn rescue(&self, source: &str, idle: Duration) -> Result<Option<Reissued>, StoreError> {
        let client = self.database.client().await?;
        let sql = format!(
            "update pagemill.partitions p set progressed_at = now() where p.id = (\
                 select q.id from pagemill.partitions q join pagemill.runs r on r.id = q.run \
                 where q.state = 'open' and q.reload_of is null and q.source = $1 and q.progressed_at < now() - make_interval(secs => $2) \
                   and (q.published_at is not null or r.lease_until is null or r.lease_until < now()) \
                 order by q.progressed_at limit 1 for update of q skip locked) \
             returning {PARTITION_COLUMNS}"
        );
        reissue_claimed(&client, client.query_opt(&sql, &[&source, &idle.as_secs_f64()]).await?).await
    }

    /// Reissues the missing pages of one given partition, whatever its progress: after a crash that took its page
    /// jobs along.
    /// `None` when it is not open.
    pub async fn reissue_missing(&self, partition: i64) -> Result<Option<Reissued>, StoreError> {
        let client = self.database.client().await?;
        let sql = format!(
            "update pagemill.partitions p set progressed_at = now() where p.id = $1 and p.state = 'open' and p.reload_of is null returning {PARTITION_COLUMNS}"
        );
        reissue_claimed(&client, client.query_opt(&sql, &[&partition]).await?).await
    }

    /// True if any partition of these sources is open.
    pub async fn any_open(&self, sources: &[String]) -> Result<bool, StoreError> {
        let client = self.database.client().await?;
        let statement = client
            .prepare_cached(
                "select exists (select from pagemill.partitions where state in ('open', 'proved') and parent is null and reload_of is null and source = any($1)) as found",
            )
            .await?;
        Ok(client.query_one(&statement, &[&sources]).await?.get("found"))
    }
}

/// Raises the generation of a claimed partition's missing pages. Not in one transaction with the
/// claim: batches lock pages before their partition, and would meet it halfway.
async fn reissue_claimed(client: &Object, claimed: Option<Row>) -> Result<Option<Reissued>, StoreError> {
    let Some(partition) = claimed.map(|row| PartitionRow::from_row(&row)) else { return Ok(None) };
    if partition.chained {
        return reissue_next(client, partition).await.map(Some);
    }
    // Before the total is known the first page stands for all of them.
    let last = partition.progress.last_page.unwrap_or(partition.progress.first_page) as i32;
    let missing = client
        .query(
            "insert into pagemill.pages as g (partition, page, generation, state) \
             select $1, p, 1, 'planned' from generate_series($2::int, $3::int) as p \
             where not exists (select from pagemill.pages d where d.partition = $1 and d.page = p and d.state in ('done', 'dead')) \
             order by p limit $4 \
             on conflict (partition, page) do update set generation = g.generation + 1, state = 'planned' \
             where g.state not in ('done', 'dead') \
             returning page, generation, attempts",
            &[&partition.id, &(partition.progress.first_page as i32), &last, &MOST_PAGES],
        )
        .await?;
    let jobs = missing
        .iter()
        .map(|r| PageJob {
            attempt: r.get::<_, i32>("attempts") as u32,
            ..partition.job(r.get::<_, i32>("page") as u32, r.get::<_, i32>("generation") as u32)
        })
        .collect();
    Ok(Some(Reissued { partition, jobs }))
}

/// Reissues the next page of a chain: only the page after the last done one can be requested.
async fn reissue_next(client: &Object, partition: PartitionRow) -> Result<Reissued, StoreError> {
    let first = partition.progress.first_page as i32;
    let last = client
        .query_opt(
            "select page, next from pagemill.pages where partition = $1 and state = 'done' order by page desc limit 1",
            &[&partition.id],
        )
        .await?;
    let (page, cursor) = match &last {
        None => (first, None),
        Some(row) => (row.get::<_, i32>("page") + 1, row.get::<_, Option<String>>("next")),
    };
    if partition.progress.last_page.is_some_and(|last| page > last as i32) {
        return Ok(Reissued { partition, jobs: Vec::new() });
    }
    let reissued = client
        .query_opt(
            "insert into pagemill.pages as g (partition, page, generation, state) values ($1, $2, 1, 'planned') \
             on conflict (partition, page) do update set generation = g.generation + 1, state = 'planned' \
             where g.state not in ('done', 'dead') returning generation, attempts",
            &[&partition.id, &page],
        )
        .await?;
    let job = |row: &Row| PageJob {
        attempt: row.get::<_, i32>("attempts") as u32,
        cursor,
        ..partition.job(page as u32, row.get::<_, i32>("generation") as u32)
    };
    let jobs = reissued.as_ref().map(job).into_iter().collect();
    Ok(Reissued { partition, jobs })
}
