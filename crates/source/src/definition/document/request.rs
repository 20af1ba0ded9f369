//! A request as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Table;

/// A request besides a stream's own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestDoc {
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
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum MethodDoc {
    #[default]
    Post,
    Get,
}

/// Of a POST's body.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EncodingDoc {
    #[default]
    Json,
    Form,
}

/// How an array is written in query or form.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ArraysDoc {
    #[default]
    Json,
    Repeat,
    Brackets,
    Comma,
}
