//! A source, described as data.

mod auth;
mod compile;
mod decode_hash;
mod document;
mod error;
mod merge;
mod names;
mod pager;
mod place;
mod rate;
mod response;
mod stream;

use std::{collections::BTreeMap, path::Path};

use jiff::tz::TimeZone;
use pagemill_core::{Failure, PageJob};
use reqwest::Url;
use toml::{Table, Value};

pub use self::{
    error::DefinitionError,
    rate::{Rate, Windows},
    stream::{Paging, Stream},
};

pub(crate) use self::{
    auth::{Auth, OAuth, TokenPaths},
    pager::{Pager, Task},
    rate::BudgetHeaders,
    response::ResponsePlan,
};
use crate::{rules::Rule, value::Reader};

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

/// A source: where the API is, what requests and responses look like, and its streams.
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
    /// For responses that hold no rows.
    pub(crate) response: ResponsePlan,
    pub(crate) rules: Vec<Rule>,
}

/// What a response may cost.
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
        let source = place::Source { origin, text, overrides: &overrides };
        let written: Table = text.parse().map_err(|e| source.toml_error(&e))?;
        let merged = merge::merged(written, &overrides);
        let document = Value::Table(merged.clone());
        let document = serde_path_to_error::deserialize(document).map_err(|e| source.form_error(&e))?;
        let mut definition = compile::definition(document).map_err(|e| source.semantic_error(e))?;
        for stream in definition.streams.values_mut() {
            stream.decode_hash = decode_hash::of(&merged, &stream.name);
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

    /// The source's name: it begins the names of tables and queues.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The source's name for people.
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

    /// How much the API permits.
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

    /// Whether the source grants and refreshes tokens; a token from the config will do as well.
    pub fn refreshes_tokens(&self) -> bool {
        self.oauth().is_some()
    }

    /// The streams, by name.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.streams.values()
    }

    /// Whether requests of any stream name an account.
    pub fn names_accounts(&self) -> bool {
        self.streams().any(Stream::names_account)
    }

    /// The stream of a name.
    ///
    /// # Errors
    /// [`UnknownStream`], listing the streams that there are.
    pub fn stream(&self, name: &str) -> Result<&Stream, UnknownStream> {
        self.streams.get(name).ok_or_else(|| UnknownStream {
            definition: self.name.clone(),
            stream: name.to_owned(),
            there: self.streams.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        })
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

#[cfg(test)]
mod tests;
