//! How pages follow one another, as it is written.

use pagemill_core::ConfigDuration;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    request::RequestDoc,
    response::FileDoc,
    serde_helpers::{OneOrMany, Scalar},
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum PagerDoc {
    /// By page number.
    Page {
        /// The number of the API's first page.
        #[serde(default = "first_page")]
        first_page: u32,
        /// Rows a page.
        size: u32,
        /// The most rows a page that the API takes.
        max_size: Option<u32>,
        /// The deepest row that the API shows.
        max_result_window: Option<u32>,
    },
    /// By the row it begins at.
    Offset {
        /// The number of the API's first row.
        #[serde(default)]
        first_offset: u32,
        /// Rows a page.
        size: u32,
        /// The most rows a page that the API takes.
        max_size: Option<u32>,
        /// The deepest row that the API shows.
        max_result_window: Option<u32>,
    },
    /// Each page names the cursor of the next.
    Cursor {
        /// Rows a page.
        size: u32,
        /// The most rows a page that the API takes.
        max_size: Option<u32>,
        /// Path of the next page's cursor.
        next: OneOrMany<String>,
        /// Path of what is missing, null or false on the last page.
        #[serde(default)]
        has_more: OneOrMany<String>,
    },
    /// Each page names the URL of the next.
    Link {
        /// Rows a page.
        size: u32,
        /// The most rows a page that the API takes.
        max_size: Option<u32>,
        /// Path of the next page's URL.
        #[serde(default)]
        next: OneOrMany<String>,
        /// The URL is in the header Link instead.
        #[serde(default)]
        link_header: bool,
    },
    /// A single response holds all rows.
    Single {},
    /// The report is prepared first.
    Task(Box<TaskDoc>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TaskDoc {
    /// Path of the task's id in the response that created it.
    pub(crate) task_id: OneOrMany<String>,
    /// The request for the state of the task: {task} is its id.
    pub(crate) poll: RequestDoc,
    /// Path of the task's state.
    pub(crate) state: OneOrMany<String>,
    /// States that mean that the task is done.
    pub(crate) done: OneOrMany<Scalar>,
    /// States that mean that the task failed; any other is waited for.
    #[serde(default)]
    pub(crate) failed: OneOrMany<Scalar>,
    /// Path of the file's URL; left out where the response that says done holds the rows.
    #[serde(default)]
    pub(crate) file_url: OneOrMany<String>,
    /// How long between two polls.
    #[schemars(with = "String")]
    pub(crate) poll_every: ConfigDuration,
    /// Where the file keeps what.
    pub(crate) file: Option<FileDoc>,
}

fn first_page() -> u32 {
    1
}
