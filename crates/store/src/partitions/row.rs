//! A partition as the ledger has it, and its counters.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt::{self, Display, Formatter},
};

use jiff::Timestamp;
use pagemill_core::{Lane, PageJob, PageRange, Slice, WriteMode};
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::{
    Row,
    types::{FromSql, Type},
};

/// A partition's counters after a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The partition's id.
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
    /// True once the pages beyond the first are published; in a chain, once its second page is; of a split
    /// partition, once the first pages of its parts are.
    pub published: bool,
}

impl Progress {
    /// From the columns [`PROGRESS_COLUMNS`].
    pub(crate) fn from_row(row: &Row) -> Self {
        Self {
            partition: row.get("id"),
            done: row.get::<_, i32>("done").into(),
            dead: row.get::<_, i32>("dead").into(),
            total: row.get("total"),
            first_page: row.get::<_, i32>("first_page") as u32,
            last_page: row.get::<_, Option<i32>>("last_page").map(|p| p as u32),
            published: row.get("published"),
        }
    }

    /// True if every page is done or dead. A partition whose first page died, so that its total
    /// was never learnt, has ended too.
    pub fn has_ended(&self) -> bool {
        match self.last_page {
            Some(last) => self.done + self.dead > i64::from(last) - i64::from(self.first_page),
            None => self.dead > 0,
        }
    }
}

/// The last word on a partition's completeness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionState {
    /// Pages or their proof are missing.
    Open,
    /// Proved complete; its rows are about to be put into the table.
    Proved,
    /// Proved complete, but so many rows would go that a second look or an operator decides.
    Held,
    /// Proved complete, and the table has its rows.
    Sealed,
    /// Closed without a proof, for a reason.
    Incomplete,
}

impl PartitionState {
    const ALL: [Self; 5] = [Self::Open, Self::Proved, Self::Held, Self::Sealed, Self::Incomplete];

    /// `open`, `proved`, `held`, `sealed` or `incomplete`, as in the ledger and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Proved => "proved",
            Self::Held => "held",
            Self::Sealed => "sealed",
            Self::Incomplete => "incomplete",
        }
    }
}

impl Display for PartitionState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<'a> FromSql<'a> for PartitionState {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let name = <&str>::from_sql(ty, raw)?;
        let state = Self::ALL.into_iter().find(|state| state.name() == name);
        state.ok_or_else(|| format!("unknown state of a partition: {name}").into())
    }

    fn accepts(ty: &Type) -> bool {
        <&str as FromSql>::accepts(ty)
    }
}

/// A partition as the ledger has it.
#[derive(Clone, Debug)]
pub struct PartitionRow {
    /// Id in `pagemill.partitions`.
    pub id: i64,
    /// The run that opened it.
    pub run: i64,
    /// The slice that it pulls.
    pub slice: Slice,
    /// The lane of its pages.
    pub lane: Lane,
    /// Rows a page.
    pub page_size: u32,
    /// The last word on its completeness.
    pub state: PartitionState,
    /// Why it is incomplete.
    pub reason: Option<String>,
    /// True if only some pages were requested.
    pub subset: bool,
    /// True if each page names the next, or there is but one page.
    pub chained: bool,
    /// The partition that this one is a part of.
    pub parent: Option<i64>,
    /// The whole attempt that this one is a part of.
    pub root: Option<i64>,
    /// Number of parts that stand for its pages beyond the first; 0 if it could not be split.
    pub parts: Option<u32>,
    /// Rounds in which pages were fetched again because the proof failed.
    pub repair_rounds: u32,
    /// When its stored responses were pruned.
    pub responses_pruned_at: Option<Timestamp>,
    /// When its pages were pruned.
    pub pruned_at: Option<Timestamp>,
    /// When earlier attempts at its slice were pruned.
    pub older_pruned_at: Option<Timestamp>,
    /// How its rows are written.
    pub write_mode: WriteMode,
    /// The sealed attempt whose rows were in the table unchanged before its pages were published.
    pub baseline: Option<i64>,
    /// The account as the table's rows name it.
    pub row_account: String,
    /// The attempt whose stored responses are its pages, if it is a reload.
    pub reload_of: Option<i64>,
    /// Counters.
    pub progress: Progress,
}

/// Columns that [`Progress::from_row`] reads, of `pagemill.partitions p`.
pub(crate) const PROGRESS_COLUMNS: &str =
    "p.id, p.done, p.dead, p.total, p.first_page, p.last_page, p.published_at is not null as published";

/// Columns that [`PartitionRow::from_row`] reads, of `pagemill.partitions p`.
pub(crate) const PARTITION_COLUMNS: &str = "p.id, p.done, p.dead, p.total, p.first_page, p.last_page, p.published_at is not null as published, \
    p.run, p.source, p.stream, p.account, p.from_date, p.to_date, p.lane, p.page_size, p.state, p.reason, p.subset_first is not null as subset, \
    p.part, p.chained, p.parent, p.root, p.parts, p.repair_rounds, p.responses_pruned_at, p.pruned_at, p.older_pruned_at, \
    p.write_mode, p.baseline_attempt, p.row_account, p.reload_of";

impl PartitionRow {
    pub(crate) fn from_row(row: &Row) -> Self {
        Self {
            id: row.get("id"),
            run: row.get("run"),
            slice: Slice {
                source: row.get("source"),
                stream: row.get("stream"),
                account: row.get("account"),
                from: row.get("from_date"),
                to: row.get("to_date"),
                part: part_from(&row.get("part")),
            },
            lane: lane_from(row.get("lane")),
            page_size: row.get::<_, i32>("page_size") as u32,
            state: row.get("state"),
            reason: row.get("reason"),
            subset: row.get("subset"),
            chained: row.get("chained"),
            parent: row.get("parent"),
            root: row.get("root"),
            parts: row.get::<_, Option<i32>>("parts").map(|n| n as u32),
            repair_rounds: row.get::<_, i32>("repair_rounds") as u32,
            responses_pruned_at: row.get("responses_pruned_at"),
            pruned_at: row.get("pruned_at"),
            older_pruned_at: row.get("older_pruned_at"),
            write_mode: write_mode_from(row.get("write_mode")),
            baseline: row.get("baseline_attempt"),
            row_account: row.get("row_account"),
            reload_of: row.get("reload_of"),
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
            write_mode: self.write_mode,
            baseline: self.baseline,
        }
    }

    /// True if the partition is open and pages of it were never published.
    pub fn is_unpublished(&self) -> bool {
        self.state == PartitionState::Open && !self.progress.published && !self.progress.has_ended()
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
        Lane::High => "pages",
        Lane::Low => "low",
    }
}

pub(crate) fn lane_from(name: &str) -> Lane {
    if name == "low" { Lane::Low } else { Lane::High }
}

pub(crate) fn write_mode_from(name: &str) -> WriteMode {
    if name == "direct" { WriteMode::Direct } else { WriteMode::Staged }
}
