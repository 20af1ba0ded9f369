//! Where a response keeps what, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::serde_helpers::{OneOrMany, Scalar};

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResponseDoc {
    /// Path or paths of the code.
    #[serde(default)]
    pub(crate) code: OneOrMany<String>,
    /// The codes that mean all is well.
    #[serde(default)]
    pub(crate) ok: OneOrMany<Scalar>,
    /// Path of an object or text that only a failure has.
    #[serde(default)]
    pub(crate) error: OneOrMany<String>,
    /// Path or paths of the message.
    #[serde(default)]
    pub(crate) message: OneOrMany<String>,
    /// Path or paths of the API's id of the request.
    #[serde(default)]
    pub(crate) request_id: OneOrMany<String>,
    /// Path of an array that names parts that failed.
    #[serde(default)]
    pub(crate) partial_failures: OneOrMany<String>,
    /// Path or paths of the partition's total.
    #[serde(default)]
    pub(crate) total: OneOrMany<String>,
    /// The header that states the total.
    pub(crate) total_header: Option<String>,
    /// Path of the array of rows; "$" if the response is the array.
    pub(crate) rows: Option<String>,
    /// The place of the rows holds an object, which is the only row.
    #[serde(default)]
    pub(crate) single_row: bool,
    /// Path of the object that states the partition's own sums.
    #[serde(default)]
    pub(crate) sums: OneOrMany<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileDoc {
    /// "json" if left out; "csv": with a header line.
    #[serde(default)]
    pub(crate) format: FormatDoc,
    /// Path of the array of rows; "$" if left out.
    pub(crate) rows: Option<String>,
    /// Path or paths of the total.
    #[serde(default)]
    pub(crate) total: OneOrMany<String>,
    /// Path of the object that states the sums.
    #[serde(default)]
    pub(crate) sums: OneOrMany<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FormatDoc {
    #[default]
    Json,
    Csv,
}
