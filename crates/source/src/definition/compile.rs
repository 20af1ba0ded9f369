//! From what is written to what is used: everything that can be wrong with a definition is found
//! here, before a request is sent.

mod auth;
mod columns;
mod limits;
mod numbers;
mod pager;
mod request;
mod response;
mod rules;
mod shared;
mod stream;
mod table;

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use reqwest::Url;

use self::{shared::Shared, stream::api_names};
use super::{
    Definition,
    auth::Auth,
    document::{Document, rate::RateDoc, stream::StreamDoc},
    error::Wrong,
    names::check_short_name,
    stream::Stream,
};
use crate::value::Reader;

/// Checks a definition and makes it usable.
pub(super) fn definition(document: Document) -> Result<Definition, Wrong> {
    let Document {
        name,
        title,
        base_url,
        time_zone,
        auth,
        rate: RateDoc(rate),
        limits,
        params,
        numbers,
        response,
        rules,
        columns,
        _defaults,
        stream,
    } = document;
    check_short_name(&name).map_err(|e| Wrong::at(["name"], e))?;
    let base_url = base(&base_url).map_err(|e| Wrong::at(["base_url"], e))?;
    let zone = TimeZone::get(&time_zone).map_err(|e| Wrong::at(["time_zone"], e.to_string()))?;
    let reader = Reader { numbers: numbers::compile(numbers)?, zone };
    rate.check().map_err(|e| e.within(&["rate"]))?;
    let auth = auth.map(|auth| auth::compile(auth, &base_url, &params)).transpose()?;
    let source = Shared {
        name: &name,
        base_url: &base_url,
        groups: &columns,
        reader: &reader,
        params: &params,
        api_names: &api_names(&columns),
    };
    let streams = streams(&source, stream, auth.as_ref())?;
    Ok(Definition {
        title,
        zone_name: time_zone,
        auth,
        params,
        budget: rate.budget_headers()?,
        rate,
        limits: limits::compile(limits)?,
        response: response::compile(&response, false, &[])?,
        rules: rules::compile(rules)?,
        streams,
        name,
        base_url,
        reader,
    })
}

fn streams(
    source: &Shared<'_>,
    documents: BTreeMap<String, StreamDoc>,
    auth: Option<&Auth>,
) -> Result<BTreeMap<String, Stream>, Wrong> {
    if documents.is_empty() {
        return Err(Wrong::at(["stream"], "a source needs at least one stream"));
    }
    let mut streams: BTreeMap<String, Stream> = BTreeMap::new();
    for (name, document) in documents {
        let stream = stream::compile(source, &name, document).map_err(|e| e.within(&["stream", &name]))?;
        if auth.is_none() && stream.requests_with(&["token"]) {
            let what = "a {token} in a request, and no [auth]: write [auth] kind = \"token\"";
            return Err(Wrong::at(["stream", &name], what));
        }
        let same = |other: &&Stream| other.table.name == stream.table.name;
        if let Some(other) = streams.values().find(same) {
            let what = format!("the table {} is already filled by stream {}", stream.table.name, other.name);
            return Err(Wrong::at(["stream", &name, "table"], what));
        }
        streams.insert(name, stream);
    }
    let nowhere = auth.is_some_and(|auth| auth.header.is_none() && auth.sign.is_none());
    if nowhere && !streams.values().any(|stream| stream.requests_with(&["token"])) {
        let what = "the token goes nowhere: name a header, or write {token} into query or body";
        return Err(Wrong::at(["auth"], what));
    }
    Ok(streams)
}

fn base(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|e| format!("\"{text}\" is no URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("\"{text}\": write https://host, perhaps with a path"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL here holds no user and no password: the token goes by auth".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("\"{text}\": no query and no fragment here"));
    }
    Ok(url)
}
