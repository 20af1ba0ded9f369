//! A stream as it is written.

use std::collections::BTreeMap;

use pagemill_core::{Restate, TimeOfDay};
use schemars::JsonSchema;
use serde::Deserialize;
use toml::Table;

use super::{
    columns::ColumnItem,
    dates::DatesDoc,
    pager::PagerDoc,
    rate::RateDoc,
    request::{ArraysDoc, EncodingDoc, MethodDoc, RequestDoc},
    response::ResponseDoc,
    serde_helpers::{OneOrMany, Scalar},
};

/// A stream: one endpoint, which fills one table.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamDoc {
    // The first seven keys are those of a `RequestDoc`. They are written out, because serde's `flatten` does not go
    // with `deny_unknown_fields`, and would lose the place of an error.
    /// Behind base_url; placeholders within it are allowed.
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) method: MethodDoc,
    #[serde(default)]
    pub(crate) encoding: EncodingDoc,
    /// With placeholders.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub(crate) query: Table,
    /// With placeholders.
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    pub(crate) body: Option<Table>,
    /// With placeholders.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) arrays: ArraysDoc,
    /// For people; the stream's name if left out.
    pub(crate) title: Option<String>,
    /// Goes over the source's response, key by key.
    #[serde(default)]
    pub(crate) response: ResponseDoc,
    /// How pages follow one another.
    pub(crate) pager: PagerDoc,
    /// How much the API permits of this stream, beside what it permits of the source.
    #[serde(default)]
    pub(crate) rate: RateDoc,
    /// Days of a partition; 1 if left out.
    pub(crate) days_per_partition: Option<u32>,
    /// The most days that one request may span.
    pub(crate) max_days: Option<u32>,
    /// When a day's report is final, on the day after: "10:15", or "10:15 Asia/Shanghai".
    #[schemars(with = "Option<String>")]
    pub(crate) ready_at: Option<TimeOfDay>,
    /// How long the API still changes a day: "7d", or ["7d", "30d weekly"].
    #[serde(default, deserialize_with = "Restate::windows")]
    #[schemars(with = "OneOrMany<String>")]
    pub(crate) restate: Vec<Restate>,
    /// <source>_<stream> if left out.
    pub(crate) table: Option<String>,
    /// The column that holds the account, part of the key.
    pub(crate) account_column: Option<String>,
    /// How the partition's dates show in the rows.
    pub(crate) dates: DatesDoc,
    /// Columns and "@group"s, in the table's order.
    pub(crate) columns: Vec<ColumnItem>,
    /// Additive columns whose stored sums must equal the API's own: names and "@group"s.
    #[serde(default)]
    pub(crate) sums: OneOrMany<String>,
    /// What becomes of rows that a later, sealed pull no longer contains.
    #[serde(default)]
    pub(crate) missing_rows: MissingDoc,
    /// What rows of other days or accounts, which are never stored, mean for a partition.
    #[serde(default)]
    pub(crate) outside: OutsideDoc,
    /// "month": the table is partitioned by the months of its date.
    pub(crate) partition_by: Option<PartitionByDoc>,
    /// Dimensions by which a day is split that is too deep for the pager's window.
    #[serde(default)]
    pub(crate) split_by: Vec<SplitDoc>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MissingDoc {
    #[default]
    Delete,
    Keep,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OutsideDoc {
    /// The partition is incomplete.
    #[default]
    Incomplete,
    /// They are dropped: the API's total and sums count them.
    Drop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PartitionByDoc {
    Month,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SplitDoc {
    pub(crate) name: String,
    /// All values of the dimension.
    pub(crate) values: Vec<Scalar>,
    /// Goes over the request's body, or over its query if it has no body: {value} is a value.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub(crate) set: Table,
}

impl StreamDoc {
    /// Takes out the stream's own request.
    pub(crate) fn take_request(&mut self) -> RequestDoc {
        RequestDoc {
            path: std::mem::take(&mut self.path),
            method: self.method,
            encoding: self.encoding,
            query: std::mem::take(&mut self.query),
            body: self.body.take(),
            headers: std::mem::take(&mut self.headers),
            arrays: self.arrays,
        }
    }
}
