//! A definition as it is written. `README.md` describes every field; what is said of them here goes
//! into the JSON Schema.

pub(super) mod auth;
pub(super) mod columns;
pub(super) mod dates;
pub(super) mod pager;
pub(super) mod rate;
pub(super) mod request;
pub(super) mod response;
pub(super) mod rules;
pub(super) mod serde_helpers;
pub(super) mod stream;

use std::collections::BTreeMap;

use pagemill_core::ConfigDuration;
use schemars::JsonSchema;
use serde::Deserialize;
use toml::Table;

use self::{
    auth::AuthDoc, columns::ColumnDoc, rate::RateDoc, response::ResponseDoc, rules::RuleDoc,
    serde_helpers::OneOrMany, stream::StreamDoc,
};

/// A source of Pagemill: where an API is, what its requests are, what its responses mean.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Pagemill source")]
pub(super) struct Document {
    /// Begins the names of tables and queues.
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]{0,30}$"))]
    pub(super) name: String,
    /// For people.
    pub(super) title: String,
    /// https://host, perhaps with a path; no user, no query.
    pub(super) base_url: String,
    /// IANA name: the zone of the source's dates, and of times without an offset.
    pub(super) time_zone: String,
    /// How a request proves who sent it.
    pub(super) auth: Option<AuthDoc>,
    /// How much the API permits.
    #[serde(default)]
    pub(super) rate: RateDoc,
    /// What a response may cost.
    #[serde(default)]
    pub(super) limits: LimitsDoc,
    /// Values that requests name as {params.NAME}.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub(super) params: Table,
    /// How numbers are written.
    #[serde(default)]
    pub(super) numbers: NumbersDoc,
    /// Where a response keeps what.
    #[serde(default)]
    pub(super) response: ResponseDoc,
    /// What responses mean that are no page: the first rule that holds decides.
    #[serde(default)]
    pub(super) rules: Vec<RuleDoc>,
    /// Groups of columns that several streams share, used as "@group".
    #[serde(default)]
    pub(super) columns: BTreeMap<String, Vec<ColumnDoc>>,
    /// Keys of a stream that every stream has unless it says otherwise.
    #[serde(default, rename = "defaults")]
    #[schemars(with = "Option<StreamDoc>")]
    pub(super) _defaults: Table,
    /// The streams: each fills one table.
    pub(super) stream: BTreeMap<String, StreamDoc>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsDoc {
    /// For a whole request: "60s".
    #[schemars(with = "Option<String>")]
    pub(super) timeout: Option<ConfigDuration>,
    /// The largest body, decompressed, in bytes.
    pub(super) max_body_bytes: Option<usize>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NumbersDoc {
    /// "ratio": 3.59% is exactly 0.0359.
    pub(super) percent: Option<PercentDoc>,
    /// What separates thousands.
    pub(super) thousands: Option<String>,
    /// Signs that may stand before or behind a number.
    #[serde(default)]
    pub(super) currency: OneOrMany<String>,
    /// Texts that mean NULL, for every type but text.
    #[serde(default)]
    pub(super) null: OneOrMany<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum PercentDoc {
    Ratio,
}
