use pagemill_core::{SealFacts, Verdict, verdict};
use serde_json::json;

use super::partitions::{PARTITION_COLUMNS, PartitionRow};
use crate::{Store, StoreError};

/// How a partition was closed.
#[derive(Clone, Debug)]
pub struct SealReport {
    /// Which.
    pub partition: PartitionRow,
    /// What the ledger knew.
    pub facts: SealFacts,
    /// Sealed, or incomplete and why.
    pub verdict: Verdict,
}

const FACTS: &str = "with pages as (\
        select state, total, keys from pagemill.pages where partition = $1 and page between $2 and $3), \
    keys as (select unnest(keys) as key from pages where state = 'done') \
    select (select count(*) from keys), (select count(*) from (select distinct key from keys) d), \
           count(*) filter (where state = 'done' and total <> $4), count(*) filter (where state = 'dead') \
    from pages";

impl Store {
    /// Closes a partition if its every page is done or dead: sealed with its proof, or incomplete
    /// with the reason. Idempotent: `None` when it is closed already or has pages left.
    ///
    /// # Errors
    /// As any query.
    pub async fn seal(&self, partition: i64) -> Result<Option<SealReport>, StoreError> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        // Counting ten million keys takes its time, and sorts better in memory.
        tx.batch_execute("set local statement_timeout = '10min'; set local work_mem = '64MB'").await?;
        let sql = format!(
            "select {PARTITION_COLUMNS} from pagemill.partitions p where p.id = $1 and p.state = 'open' for update"
        );
        let Some(row) = tx.query_opt(&sql, &[&partition]).await? else {
            return Ok(None);
        };
        let partition = PartitionRow::from_row(&row);
        if !partition.progress.has_ended() {
            return Ok(None);
        }
        let progress = &partition.progress;
        let total = progress.total.unwrap_or(0);
        let last = progress.last_page.unwrap_or(progress.first_page);
        let row = tx
            .query_one(FACTS, &[&partition.id, &(progress.first_page as i32), &(last as i32), &total])
            .await?;
        let count = |i: usize| row.get::<_, i64>(i) as u64;
        let facts = SealFacts {
            total: total as u64,
            keys: count(0),
            distinct_keys: count(1),
            pages_moved: count(2),
            pages_dead: count(3),
            subset: partition.subset,
        };
        let verdict = verdict(&facts);
        let (state, reason) = match verdict {
            Verdict::Sealed => ("sealed", None),
            Verdict::Incomplete(reason) => ("incomplete", Some(reason.to_string())),
        };
        let proof = json!({
            "total": facts.total, "pages": progress.done, "keys": facts.keys, "distinct_keys": facts.distinct_keys,
            "pages_moved": facts.pages_moved, "pages_dead": facts.pages_dead,
        });
        fail::fail_point!("inside-seal");
        tx.execute(
            "update pagemill.partitions set state = $2, reason = $3, proof = $4, closed_at = now(), progressed_at = now() where id = $1",
            &[&partition.id, &state, &reason, &proof],
        )
        .await?;
        tx.commit().await?;
        Ok(Some(SealReport { partition, facts, verdict }))
    }
}
