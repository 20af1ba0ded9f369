//! A stream: an endpoint of a source, checked and usable.

use pagemill_core::{Failure, PageJob, Restate, TableShape, TimeOfDay};

use super::{
    pager::{Pager, Split},
    rate::Rate,
    response::ResponsePlan,
};
use crate::{
    decode::{ColumnPlan, Origin, RowPlan, SumsPlan},
    params::Params,
    request::RequestPlan,
};

/// An endpoint of a source, which fills one table.
#[derive(Debug)]
pub struct Stream {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) rate: Rate,
    pub(super) page_size: u32,
    pub(super) max_result_window: Option<u32>,
    pub(super) max_days: Option<u32>,
    pub(super) days_per_partition: u32,
    pub(super) ready_at: Option<TimeOfDay>,
    pub(super) restate: Vec<Restate>,
    pub(super) keeps_missing: bool,
    pub(super) drops_outside: bool,
    pub(super) monthly: bool,
    pub(super) splits: Vec<Split>,
    pub(super) table: TableShape,
    pub(super) decode_hash: i64,
    pub(crate) request: RequestPlan,
    pub(crate) pager: Pager,
    /// For responses that hold rows.
    pub(crate) response: ResponsePlan,
    pub(crate) rows: RowPlan,
    pub(crate) sums: SumsPlan,
}

/// How a partition's pages are requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// Side by side, by their numbers; the total says how many there are.
    Numbered,
    /// One by one: each page names the next.
    Chained,
    /// A single page holds all.
    Single,
}

impl Stream {
    /// The stream's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stream's name for people.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Rows a page.
    pub fn page_size(&self) -> u32 {
        self.page_size
    }

    /// The most days that one request may span.
    pub fn max_days(&self) -> Option<u32> {
        self.max_days
    }

    /// The table that the stream fills.
    pub fn table_shape(&self) -> &TableShape {
        &self.table
    }

    /// Hash of all that the definition says about decoding the stream's responses: when it changes, stored
    /// responses are to be decoded again.
    pub fn decode_hash(&self) -> i64 {
        self.decode_hash
    }

    /// How a partition's pages are requested.
    pub fn paging(&self) -> Paging {
        match self.pager {
            Pager::Page { .. } | Pager::Offset { .. } => Paging::Numbered,
            Pager::Cursor { .. } | Pager::Link { .. } => Paging::Chained,
            Pager::Single | Pager::Task(_) => Paging::Single,
        }
    }

    /// Whether requests name an account, or rows are told apart by it.
    pub fn names_account(&self) -> bool {
        let by_account = |column: &ColumnPlan| matches!(column.origin, Origin::Account);
        self.requests_with(&["account"]) || self.rows.columns.iter().any(by_account)
    }

    /// The deepest row that the API shows, where it doesn't show all.
    pub fn max_result_window(&self) -> Option<u32> {
        self.max_result_window
    }

    /// Dimensions by which a day is split that is too deep, with their values as
    /// [`pagemill_core::Slice::part`] has them.
    pub fn split_by(&self) -> Vec<(String, Vec<String>)> {
        self.splits.iter().map(|split| (split.name.clone(), split.values.clone())).collect()
    }

    /// Positions of the additive columns in the table's columns, in the order of
    /// [`pagemill_core::FetchedPage::sums`].
    pub fn sums(&self) -> &[usize] {
        &self.sums.columns
    }

    /// Whether rows that a later, sealed pull no longer contains stay in the table, marked as gone.
    pub fn keeps_missing(&self) -> bool {
        self.keeps_missing
    }

    /// Whether rows of other days or accounts are dropped, and a partition is complete without them.
    pub fn drops_outside(&self) -> bool {
        self.drops_outside
    }

    /// Whether the table is partitioned by the months of its date.
    pub fn is_monthly(&self) -> bool {
        self.monthly
    }

    /// Days of a partition.
    pub fn days_per_partition(&self) -> u32 {
        self.days_per_partition
    }

    /// When a day's report is final, on the day after, in the source's zone unless it names one.
    pub fn ready_at(&self) -> Option<&TimeOfDay> {
        self.ready_at.as_ref()
    }

    /// How long the API still changes a day.
    pub fn restate(&self) -> &[Restate] {
        &self.restate
    }

    /// How much the API permits of this stream, beside what it permits of the source.
    pub fn rate(&self) -> &Rate {
        &self.rate
    }

    /// The parameters of a job's request.
    pub(crate) fn params<'j>(&self, job: &'j PageJob) -> Result<Params<'j>, Failure> {
        let params = Params::of(job);
        let days = i64::from((params.to - params.from).get_days()) + 1;
        if days < 1 || self.max_days.is_some_and(|most| days > i64::from(most)) {
            let most = self.max_days.map_or_else(String::new, |most| format!(", and {most} is the most"));
            return Err(Failure::permanent(format!("{} to {} is {days} days{most}", params.from, params.to)));
        }
        Ok(params)
    }

    /// The split by a dimension, which has this value.
    pub(crate) fn split(&self, dimension: &str, value: &str) -> Result<&Split, Failure> {
        let found = self.splits.iter().find(|s| s.name == dimension && s.values.iter().any(|v| v == value));
        found.ok_or_else(|| {
            let what = format!("stream {} has no part {dimension} = {value} in its split_by", self.name);
            Failure::permanent(what)
        })
    }

    /// Whether a request of this stream fills in one of these names.
    pub(crate) fn requests_with(&self, names: &[&str]) -> bool {
        let poll = match &self.pager {
            Pager::Task(task) => task.poll.names(names),
            _ => false,
        };
        poll || self.request.names(names)
    }
}
