use std::collections::BTreeMap;

use jiff::Timestamp;
use pagemill_core::{Lane, PageJob, PageRange, Slice};
use serde_json::Value;
use tokio_postgres::Row;

use crate::{Store, StoreError, StoreErrorKind};

/// Where an open partition stands after a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Its id.
    pub partition: i64,
    /// Pages done.
    pub done: i64,
    /// Pages dead.
    pub dead: i64,
    /// Rows that the API stated, once known.
    pub total: Option<i64>,
    /// First planned page.
    pub first_page: u32,
    /// Last planned page, once the total is known.
    pub last_page: Option<u32>,
    /// Whether every other page has been published.
    pub published: bool,
}

impl Progress {
    /// `id, done, dead, total, first_page, last_page, published`
    pub(crate) fn from_row(row: &Row) -> Self {
        Self {
            partition: row.get(0),
            done: row.get::<_, i32>(1).into(),
            dead: row.get::<_, i32>(2).into(),
            total: row.get(3),
            first_page: row.get::<_, i32>(4) as u32,
            last_page: row.get::<_, Option<i32>>(5).map(|p| p as u32),
            published: row.get(6),
        }
    }

    /// Whether every page is done or dead. A partition whose first page died, so that its total
    /// was never learnt, has ended too.
    pub fn has_ended(&self) -> bool {
        match self.last_page {
            Some(last) => self.done + self.dead > i64::from(last) - i64::from(self.first_page),
            None => self.dead > 0,
        }
    }
}

/// A partition as the ledger has it.
#[derive(Clone, Debug)]
pub struct PartitionRow {
    /// Its id.
    pub id: i64,
    /// The run that opened it.
    pub run: i64,
    /// What it is a slice of.
    pub slice: Slice,
    /// The lane of its pages.
    pub lane: Lane,
    /// Rows a page.
    pub page_size: u32,
    /// `open`, `sealed` or `incomplete`.
    pub state: String,
    /// Why it is incomplete.
    pub reason: Option<String>,
    /// Whether only some pages were asked for.
    pub subset: bool,
    /// Whether its pages follow one another, or there is but one.
    pub chained: bool,
    /// The partition that this one is a part of.
    pub parent: Option<i64>,
    /// How many parts stand for its pages beyond the first; 0 if it could not be split.
    pub parts: Option<u32>,
    /// Rounds in which pages were fetched again because the proof failed.
    pub repairs: u32,
    /// When its stored answers were pruned.
    pub answers_pruned_at: Option<Timestamp>,
    /// When its pages were pruned.
    pub pruned_at: Option<Timestamp>,
    /// When earlier attempts at its slice were pruned.
    pub older_pruned_at: Option<Timestamp>,
    /// The sealed attempt whose rows stood in the table untouched before its pages were published.
    pub stands_on: Option<i64>,
    /// Its counters.
    pub progress: Progress,
}

/// The columns that [`PartitionRow::from_row`] reads, of `pagemill.partitions p`.
pub(crate) const PARTITION_COLUMNS: &str = "p.id, p.done, p.dead, p.total, p.first_page, p.last_page, p.published_at is not null, \
    p.run, p.source, p.stream, p.account, p.from_date, p.to_date, p.lane, p.page_size, p.state, p.reason, p.subset_first is not null, \
    p.part, p.chained, p.parent, p.parts, p.repairs, p.answers_pruned_at, p.pruned_at, p.older_pruned_at, p.stands_on";

impl PartitionRow {
    pub(crate) fn from_row(row: &Row) -> Self {
        Self {
            id: row.get(0),
            run: row.get(7),
            slice: Slice {
                source: row.get(8),
                stream: row.get(9),
                account: row.get(10),
                from: row.get(11),
                to: row.get(12),
                part: part_from(&row.get(18)),
            },
            lane: lane_from(row.get(13)),
            page_size: row.get::<_, i32>(14) as u32,
            state: row.get(15),
            reason: row.get(16),
            subset: row.get(17),
            chained: row.get(19),
            parent: row.get(20),
            parts: row.get::<_, Option<i32>>(21).map(|n| n as u32),
            repairs: row.get::<_, i32>(22) as u32,
            answers_pruned_at: row.get(23),
            pruned_at: row.get(24),
            older_pruned_at: row.get(25),
            stands_on: row.get(26),
            progress: Progress::from_row(row),
        }
    }

    /// The job of one of its pages.
    pub fn job(&self, page: u32, generation: u32) -> PageJob {
        PageJob {
            v: PageJob::VERSION,
            partition: self.id,
            run: self.run,
            slice: self.slice.clone(),
            page,
            page_size: self.page_size,
            generation,
            attempt: 0,
            lane: self.lane,
            cursor: None,
            stands_on: self.stands_on,
        }
    }

    /// Whether it is open and pages of it were never published.
    pub fn is_unpublished(&self) -> bool {
        self.state == "open" && !self.progress.published && !self.progress.has_ended()
    }

    /// The planned pages, once the total is known.
    pub fn planned(&self) -> Option<PageRange> {
        self.progress.last_page.map(|last| PageRange { first: self.progress.first_page, last })
    }
}

/// `{"placement": "1"}`
pub(crate) fn part_from(value: &Value) -> BTreeMap<String, String> {
    let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    value.as_object().map(|part| part.iter().filter_map(text).collect()).unwrap_or_default()
}

pub(crate) fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Pages => "pages",
        Lane::Low => "low",
    }
}

pub(crate) fn lane_from(name: &str) -> Lane {
    if name == "low" { Lane::Low } else { Lane::Pages }
}

impl Store {
    /// One partition.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] if there is none with this id.
    pub async fn partition(&self, id: i64) -> Result<PartitionRow, StoreError> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(&format!("select {PARTITION_COLUMNS} from pagemill.partitions p where p.id = $1"))
            .await?;
        let row = client.query_opt(&statement, &[&id]).await?;
        row.map(|r| PartitionRow::from_row(&r)).ok_or_else(|| {
            StoreError::new(StoreErrorKind::Invalid, format!("the ledger has no partition {id}"))
        })
    }

    /// The partitions of a run, in order.
    ///
    /// # Errors
    /// As any query.
    pub async fn partitions_of(&self, run: i64) -> Result<Vec<PartitionRow>, StoreError> {
        let client = self.client().await?;
        let sql = format!(
            "select {PARTITION_COLUMNS} from pagemill.run_partitions rp join pagemill.partitions p on p.id = rp.partition \
             where rp.run = $1 order by p.id"
        );
        Ok(client.query(&sql, &[&run]).await?.iter().map(PartitionRow::from_row).collect())
    }

    /// The open partitions of these sources, whichever run opened them.
    ///
    /// # Errors
    /// As any query.
    pub async fn open_partitions(&self, sources: &[String]) -> Result<Vec<PartitionRow>, StoreError> {
        let client = self.client().await?;
        let sql = format!(
            "select {PARTITION_COLUMNS} from pagemill.partitions p where p.state = 'open' and p.source = any($1) order by p.id"
        );
        Ok(client.query(&sql, &[&sources]).await?.iter().map(PartitionRow::from_row).collect())
    }

    /// What the pages of a partition that are known to the ledger stand at: page, generation, and
    /// whether it is done or dead. Pages that are not in the answer were never heard of.
    ///
    /// # Errors
    /// As any query.
    pub async fn known_pages(&self, partition: i64) -> Result<Vec<(u32, u32, bool)>, StoreError> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached("select page, generation, state in ('done', 'dead') from pagemill.pages where partition = $1 order by page")
            .await?;
        let rows = client.query(&statement, &[&partition]).await?;
        Ok(rows.iter().map(|r| (r.get::<_, i32>(0) as u32, r.get::<_, i32>(1) as u32, r.get(2))).collect())
    }

    /// Every page job of the partition was accepted by its queue.
    ///
    /// # Errors
    /// As any query.
    pub async fn mark_published(&self, partition: i64) -> Result<(), StoreError> {
        let client = self.client().await?;
        client
            .execute(
                "update pagemill.partitions set published_at = coalesce(published_at, now()), progressed_at = now() where id = $1",
                &[&partition],
            )
            .await?;
        Ok(())
    }

    /// Closes an open partition as incomplete for a reason of its own. `None` when it is not open.
    ///
    /// # Errors
    /// As any query.
    pub async fn close_incomplete(
        &self,
        partition: i64,
        reason: &str,
    ) -> Result<Option<PartitionRow>, StoreError> {
        let client = self.client().await?;
        let sql = format!(
            "update pagemill.partitions p set state = 'incomplete', reason = $2, closed_at = now(), progressed_at = now() \
             where p.id = $1 and p.state = 'open' returning {PARTITION_COLUMNS}"
        );
        Ok(client.query_opt(&sql, &[&partition, &reason]).await?.as_ref().map(PartitionRow::from_row))
    }
}
