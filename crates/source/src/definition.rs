//! A source, described as data.

mod columns;
mod compile;
mod document;
mod error;
mod meaning;
mod words;

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use jiff::tz::TimeZone;
use pagemill_core::{Failure, FetchedPage, PageJob, TableShape};
use reqwest::{Url, header::HeaderName};
use toml::{Table, Value};

pub use error::DefinitionError;

use crate::{
    answer,
    decode::{AnswerPlan, RowPlan},
    params::Params,
    rules::Rule,
    template::Template,
    value::Reader,
};

/// Definitions that come with the program.
const SHIPPED: [(&str, &str); 1] = [("xiaohongshu", include_str!("../../../sources/xiaohongshu.toml"))];

/// A source: where it is, how it is asked, what its answers mean, and its streams.
#[derive(Debug)]
pub struct Definition {
    name: String,
    title: String,
    base_url: Url,
    zone_name: String,
    auth: Option<Auth>,
    rate: Rate,
    streams: BTreeMap<String, Stream>,
    pub(crate) limits: Limits,
    pub(crate) reader: Reader,
    pub(crate) answer: Answer,
    pub(crate) rules: Vec<Rule>,
}

/// One endpoint of a source; it fills one table.
#[derive(Debug)]
pub struct Stream {
    name: String,
    title: String,
    page_size: u32,
    max_days: Option<u32>,
    table: TableShape,
    meaning: i64,
    first_page: u32,
    pub(crate) url: Url,
    pub(crate) body: Template,
    pub(crate) rows: RowPlan,
}

/// What a source permits, over all replicas. A window that isn't named isn't limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests a second; below 1 it is one request in so many seconds.
    pub per_second: Option<f64>,
    /// Requests a minute.
    pub per_minute: Option<u32>,
    /// Requests a day.
    pub per_day: Option<u32>,
}

impl Rate {
    /// Requests a second that keep within every window when they are spaced evenly; `None` without
    /// a limit.
    pub fn sustained(self) -> Option<f64> {
        let Self { per_second, per_minute, per_day } = self;
        let minute = per_minute.map(|n| f64::from(n) / 60.0);
        let day = per_day.map(|n| f64::from(n) / 86_400.0);
        [per_second, minute, day].into_iter().flatten().reduce(f64::min)
    }
}

/// How a request proves who sent it.
#[derive(Clone, Debug)]
pub(crate) enum Auth {
    /// A token in a header, behind a prefix.
    Token { header: HeaderName, prefix: String },
}

/// What an answer may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) timeout: std::time::Duration,
    pub(crate) body: usize,
}

/// Where an answer keeps what, and which codes mean that all is well.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) plan: AnswerPlan,
    /// Paths of the code as written; none if the source has no codes.
    pub(crate) code: Vec<String>,
    pub(crate) ok: Vec<String>,
    pub(crate) total: Vec<String>,
    pub(crate) rows: String,
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
        let mut merged: Table = text.parse().map_err(|e| source.toml_error(&e))?;
        merge(&mut merged, &overrides);
        let document = if overrides.is_empty() {
            toml::from_str(text).map_err(|e| source.toml_error(&e))?
        } else {
            Value::Table(merged.clone()).try_into().map_err(|e| source.merged_error(&e))?
        };
        let mut definition = compile::definition(document).map_err(|e| source.semantic_error(e))?;
        for stream in definition.streams.values_mut() {
            stream.meaning = meaning::of(&merged, &stream.name);
        }
        Ok(definition)
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
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Whether requests carry a token.
    pub fn needs_token(&self) -> bool {
        self.auth.is_some()
    }

    /// Its streams, by name.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.streams.values()
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
        answer::page(
            self,
            stream,
            &stream.params(job)?,
            &answer::Received { status: 200, ..Default::default() },
            body,
        )
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

    /// What a job asks of this stream.
    pub(crate) fn params<'j>(&self, job: &'j PageJob) -> Result<Params<'j>, Failure> {
        let params = Params::of(job, self.first_page)?;
        let days = i64::from((params.to - params.from).get_days()) + 1;
        if days < 1 || self.max_days.is_some_and(|most| days > i64::from(most)) {
            let most = self.max_days.map_or_else(String::new, |most| format!(", and {most} is the most"));
            return Err(Failure::permanent(format!("{} to {} is {days} days{most}", params.from, params.to)));
        }
        Ok(params)
    }
}

/// Puts one table over another: tables are merged, anything else is replaced.
fn merge(under: &mut Table, over: &Table) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            _ => drop(under.insert(key.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
