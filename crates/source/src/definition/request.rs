//! A request as it is written, and checked.

use std::collections::BTreeMap;

use reqwest::{
    Method, Url,
    header::{HeaderName, HeaderValue},
};
use schemars::JsonSchema;
use serde::Deserialize;
use toml::Table;

use super::error::Wrong;
use crate::{
    request::{Arrays, RequestPlan},
    template::{Scope, Template, TemplateError},
};

/// A request besides a stream's own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestDoc {
    /// Behind base_url; placeholders within it are allowed.
    pub(super) path: String,
    #[serde(default)]
    pub(super) method: MethodDoc,
    #[serde(default)]
    pub(super) encoding: EncodingDoc,
    /// With placeholders.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub(super) query: Table,
    /// With placeholders.
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    pub(super) body: Option<Table>,
    /// With placeholders.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) arrays: ArraysDoc,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum MethodDoc {
    #[default]
    Post,
    Get,
}

/// Of a POST's body.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum EncodingDoc {
    #[default]
    Json,
    Form,
}

/// How an array is written in query or form.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ArraysDoc {
    #[default]
    Json,
    Repeat,
    Brackets,
    Comma,
}

/// Checks a request.
pub(super) fn compile(document: &RequestDoc, base_url: &Url, scope: Scope<'_>) -> Result<RequestPlan, Wrong> {
    let RequestDoc { path, method, encoding, query, body, headers, arrays } = document;
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return Err(Wrong::at(["path"], "a path starts with / and has no ? or #"));
    }
    let url = format!("{}{path}", base_url.as_str().trim_end_matches('/'));
    url.parse::<Url>().map_err(|e| Wrong::at(["path"], format!("{url}: {e}")))?;
    let get = matches!(method, MethodDoc::Get);
    if get && body.is_some() {
        return Err(Wrong::at(["body"], "a GET has no body: write query, or method = \"POST\""));
    }
    let wrong = |key: &'static str| {
        move |TemplateError { path, what }: TemplateError| Wrong { path, what }.within(&[key])
    };
    let header = |(name, text): (&String, &String)| {
        let at = |what: String| Wrong::at(["headers", name], what);
        HeaderValue::from_str(text).map_err(|_| at("not fit for a header: visible ASCII only".into()))?;
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| at("no header's name".into()))?;
        Ok((key, Template::of_text(text, scope).map_err(|e| at(e.what))?))
    };
    Ok(RequestPlan {
        method: if get { Method::GET } else { Method::POST },
        form: matches!(encoding, EncodingDoc::Form),
        path: Template::of_text(path, scope).map_err(wrong("path"))?,
        query: Template::of_table(query, scope).map_err(wrong("query"))?,
        body: body.as_ref().map(|body| Template::of_table(body, scope)).transpose().map_err(wrong("body"))?,
        headers: headers.iter().map(header).collect::<Result<_, Wrong>>()?,
        arrays: match arrays {
            ArraysDoc::Json => Arrays::Json,
            ArraysDoc::Repeat => Arrays::Repeat,
            ArraysDoc::Brackets => Arrays::Brackets,
            ArraysDoc::Comma => Arrays::Comma,
        },
    })
}
