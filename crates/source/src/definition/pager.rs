//! How pages follow one another: the checked form of `pager` and `split_by`.

use std::time::Duration;

use super::response::ResponsePlan;
use crate::{request::RequestPlan, template::Template};

/// How pages follow one another.
#[derive(Debug)]
pub(crate) enum Pager {
    /// By page number; `first` is the number of the API's first page.
    Page { first: u32 },
    /// By the row that a page begins at; `first` is the number of the API's first row.
    Offset { first: u32 },
    /// By the cursor that each page names; `has_more`: a field says whether there is a next page.
    Cursor { has_more: bool },
    /// By the URL that each page names; `in_header`: in the header `Link`.
    Link { in_header: bool },
    /// A single response holds all rows.
    Single,
    /// The report is prepared first.
    Task(Box<Task>),
}

/// A report that the API prepares first. The stream's own request creates the task, and the stream's own
/// response plan is for the body that holds the rows.
#[derive(Debug)]
pub(crate) struct Task {
    /// Where the response that creates the task keeps what.
    pub(crate) created: ResponsePlan,
    pub(crate) poll: RequestPlan,
    /// Where the response to a poll keeps what.
    pub(crate) polled: ResponsePlan,
    pub(crate) done: Vec<String>,
    pub(crate) failed: Vec<String>,
    pub(crate) poll_every: Duration,
    /// Whether the rows are in a file of their own.
    pub(crate) file: bool,
}

/// A dimension by which a day is split.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) name: String,
    pub(crate) values: Vec<String>,
    pub(crate) set: Template,
}
