//! A source, described as data.

mod answer;
mod auth;
mod columns;
mod compile;
mod document;
mod error;
mod meaning;
mod merge;
mod rate;
mod request;
mod stream;
mod words;

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use jiff::tz::TimeZone;
use pagemill_core::{Failure, FetchedPage, PageJob, Restate, TableShape, TimeOfDay};
use reqwest::Url;
use toml::{Table, Value};

pub use self::{
    error::DefinitionError,
    rate::{Rate, Windows},
};

pub(crate) use self::{
    answer::Answer,
    auth::Auth,
    rate::BudgetHeaders,
    stream::{Pager, Split, Task},
};
use crate::{
    answer::{Received, page},
    decode::{ColumnPlan, Origin, RowPlan, SumsPlan},
    oauth::OAuth,
    params::Params,
    request::RequestPlan,
    rules::Rule,
    value::Reader,
};

/// Definitions that come with the program.
const SHIPPED: [(&str, &str); 8] = [
    ("xiaohongshu", include_str!("../../../sources/xiaohongshu.toml")),
    ("oceanengine", include_str!("../../../sources/oceanengine.toml")),
    ("tencent", include_str!("../../../sources/tencent.toml")),
    ("kuaishou", include_str!("../../../sources/kuaishou.toml")),
    ("baidu", include_str!("../../../sources/baidu.toml")),
    ("meta", include_str!("../../../sources/meta.toml")),
    ("tiktok", include_str!("../../../sources/tiktok.toml")),
    ("example", include_str!("../../../sources/example.toml")),
];

/// A source: where it is, how it is asked, what its answers mean, and its streams.
#[derive(Debug)]
pub struct Definition {
    name: String,
    title: String,
    base_url: Url,
    zone_name: String,
    auth: Option<Auth>,
    rate: Rate,
    params: Table,
    streams: BTreeMap<String, Stream>,
    pub(crate) budget: Option<BudgetHeaders>,
    pub(crate) limits: Limits,
    pub(crate) reader: Reader,
    /// Of answers that hold no rows.
    pub(crate) answer: Answer,
    pub(crate) rules: Vec<Rule>,
}

/// One endpoint of a source; it fills one table.
#[derive(Debug)]
pub struct Stream {
    name: String,
    title: String,
    rate: Rate,
    page_size: u32,
    window: Option<u32>,
    max_days: Option<u32>,
    grid: u32,
    ready_at: Option<TimeOfDay>,
    restate: Vec<Restate>,
    deletes_missing: bool,
    monthly: bool,
    splits: Vec<Split>,
    table: TableShape,
    meaning: i64,
    pub(crate) request: RequestPlan,
    pub(crate) pager: Pager,
    /// Of answers that hold rows.
    pub(crate) answer: Answer,
    pub(crate) rows: RowPlan,
    pub(crate) sums: SumsPlan,
}

/// How a partition's pages are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// Side by side, by their numbers; the total says how many there are.
    Numbered,
    /// One by one: each page names the next.
    Chained,
    /// There is one page, which holds all.
    Single,
}

/// What an answer may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) timeout: std::time::Duration,
    pub(crate) body: usize,
}

/// A source has no stream of this name.
#[derive(Debug, thiserror::Error)]
#[error("source {definition} has no stream {stream}: it has {there}")]
pub struct UnknownStream {
    definition: String,
    stream: String,
    there: String,
}

impl Definition {
    /// Reads a definition: a shipped one by its name, or the file at a path. `overrides` go over any
    /// of its keys, table by table.
    ///
    /// # Errors
    /// [`DefinitionError`] naming the file and line, or the config key, and what is wrong.
    pub fn load(name_or_path: &str, overrides: Table) -> Result<Self, DefinitionError> {
        if let Some((name, text)) = SHIPPED.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(&format!("sources/{name}.toml"), text, overrides);
        }
        let text = std::fs::read_to_string(Path::new(name_or_path)).map_err(|e| {
            let shipped = Self::shipped_names().collect::<Vec<_>>().join(", ");
            let what = format!("neither a shipped definition ({shipped}) nor a file that can be read: {e}");
            DefinitionError::file(name_or_path, what)
        })?;
        Self::parse(name_or_path, &text, overrides)
    }

    /// A definition that comes with the program, as it is.
    ///
    /// # Errors
    /// [`DefinitionError`] if there is none of this name.
    pub fn shipped(name: &str) -> Result<Self, DefinitionError> {
        let shipped = Self::shipped_names().any(|n| n == name);
        if shipped { Self::load(name, Table::new()) } else { Err(DefinitionError::file(name, "not shipped")) }
    }

    /// Names of the definitions that come with the program.
    pub fn shipped_names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// Reads a definition from its text; `origin` names it in errors.
    ///
    /// # Errors
    /// As [`Definition::load`].
    pub fn parse(origin: &str, text: &str, overrides: Table) -> Result<Self, DefinitionError> {
        let source = error::Source { origin, text, overrides: &overrides };
        let written: Table = text.parse().map_err(|e| source.toml_error(&e))?;
        let merged = merge::merged(written, &overrides);
        let document = Value::Table(merged.clone());
        let document = serde_path_to_error::deserialize(document).map_err(|e| source.form_error(&e))?;
        let mut definition = compile::definition(document).map_err(|e| source.semantic_error(e))?;
        for stream in definition.streams.values_mut() {
            stream.meaning = meaning::of(&merged, &stream.name);
        }
        Ok(definition)
    }

    /// JSON Schema of the format, for editors.
    pub fn schema() -> serde_json::Value {
        let mut schema = schemars::schema_for!(document::Document).to_value();
        // What a stream lacks, the defaults may have.
        if let Some(stream) = schema.pointer_mut("/$defs/StreamDoc").and_then(|s| s.as_object_mut()) {
            stream.remove("required");
        }
        schema
    }

    /// Its name: it begins the names of tables and queues.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name for people.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Where the API is.
    pub fn base_url(&self) -> &str {
        self.base_url.as_str()
    }

    /// IANA name of the zone of its dates.
    pub fn time_zone(&self) -> &str {
        &self.zone_name
    }

    /// The zone of its dates.
    pub fn zone(&self) -> &TimeZone {
        &self.reader.zone
    }

    /// What it permits.
    pub fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Values that its requests name as `{params.NAME}`.
    pub fn params(&self) -> &Table {
        &self.params
    }

    /// Whether requests carry a token.
    pub fn needs_token(&self) -> bool {
        self.auth.is_some()
    }

    /// Whether it grants tokens and refreshes them; a token from the config will do as well.
    pub fn refreshes_tokens(&self) -> bool {
        self.oauth().is_some()
    }

    /// Its streams, by name.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.streams.values()
    }

    /// Whether any of its streams is asked by account.
    pub fn names_accounts(&self) -> bool {
        self.streams().any(Stream::names_account)
    }

    /// One of its streams.
    ///
    /// # Errors
    /// [`UnknownStream`], listing those that there are.
    pub fn stream(&self, name: &str) -> Result<&Stream, UnknownStream> {
        self.streams.get(name).ok_or_else(|| UnknownStream {
            definition: self.name.clone(),
            stream: name.to_owned(),
            there: self.streams.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        })
    }

    /// Reads the body of a good answer again, as [`crate::Client::fetch`] did: a table is rebuilt
    /// from the bodies kept, without a request.
    ///
    /// # Errors
    /// What is wrong with the answer.
    pub fn decode(&self, job: &PageJob, body: Bytes) -> Result<FetchedPage, Failure> {
        let stream = self.stream_of(job)?;
        let received = Received { status: 200, replayed: true, ..Received::default() };
        page(self, stream, &stream.params(job)?, &received, body)
    }

    /// Where the API is.
    pub(crate) fn url(&self) -> &Url {
        &self.base_url
    }

    /// The link to a next page without what is written anew into each request, and without secrets:
    /// it may be stored.
    pub(crate) fn storable(&self, stream: &Stream, link: Url, secrets: &[&str]) -> Url {
        let sign = self.auth.as_ref().and_then(|auth| auth.sign.as_ref()?.key());
        stream.request.without_volatile(link, sign, secrets)
    }

    pub(crate) fn oauth(&self) -> Option<&OAuth> {
        self.auth()?.oauth.as_ref()
    }

    pub(crate) fn auth(&self) -> Option<&Auth> {
        self.auth.as_ref()
    }

    /// The stream that a job is for.
    pub(crate) fn stream_of(&self, job: &PageJob) -> Result<&Stream, Failure> {
        if job.slice.source != self.name {
            let (given, name) = (&job.slice.source, &self.name);
            return Err(Failure::permanent(format!("a job of source {given} came to source {name}")));
        }
        self.stream(&job.slice.stream).map_err(|e| Failure::permanent(e.to_string()))
    }
}

impl Stream {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name for people.
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

    /// The table that it fills.
    pub fn table_shape(&self) -> &TableShape {
        &self.table
    }

    /// What the definition says of its answers, as a number: when it changes, the stored answers are
    /// to be read again.
    pub fn meaning(&self) -> i64 {
        self.meaning
    }

    /// How a partition's pages are asked for.
    pub fn paging(&self) -> Paging {
        match self.pager {
            Pager::Page { .. } | Pager::Offset { .. } => Paging::Numbered,
            Pager::Cursor { .. } | Pager::Link { .. } => Paging::Chained,
            Pager::Single | Pager::Task(_) => Paging::Single,
        }
    }

    /// Whether it is asked, or its rows are told apart, by account.
    pub fn names_account(&self) -> bool {
        let by_account = |column: &ColumnPlan| matches!(column.origin, Origin::Account);
        self.asks_with(&["account"]) || self.rows.columns.iter().any(by_account)
    }

    /// The deepest row that the API shows, where it doesn't show all.
    pub fn window(&self) -> Option<u32> {
        self.window
    }

    /// Dimensions by which a day is split that is too deep, with their values as
    /// [`pagemill_core::Slice::part`] has them.
    pub fn split_by(&self) -> Vec<(String, Vec<String>)> {
        self.splits.iter().map(|split| (split.name.clone(), split.values.clone())).collect()
    }

    /// Positions of the additive columns in the table's columns, in the order of
    /// [`FetchedPage::sums`].
    pub fn sums(&self) -> &[usize] {
        &self.sums.columns
    }

    /// Whether rows that a later, sealed pull no longer contains are deleted.
    pub fn deletes_missing(&self) -> bool {
        self.deletes_missing
    }

    /// Whether its table is partitioned by the months of its date.
    pub fn is_monthly(&self) -> bool {
        self.monthly
    }

    /// Days of a partition.
    pub fn grid(&self) -> u32 {
        self.grid
    }

    /// When a day's report is final, on the day after, in the source's zone unless it names one.
    pub fn ready_at(&self) -> Option<&TimeOfDay> {
        self.ready_at.as_ref()
    }

    /// How long the API still changes a day.
    pub fn restate(&self) -> &[Restate] {
        &self.restate
    }

    /// What it permits beside what its source does.
    pub fn rate(&self) -> &Rate {
        &self.rate
    }

    /// What a job asks of this stream.
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

    /// Whether a request of its fills in one of these.
    pub(crate) fn asks_with(&self, names: &[&str]) -> bool {
        let poll = match &self.pager {
            Pager::Task(task) => task.poll.names(names),
            _ => false,
        };
        poll || self.request.names(names)
    }
}

#[cfg(test)]
mod tests;
