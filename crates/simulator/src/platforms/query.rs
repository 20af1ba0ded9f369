use std::collections::BTreeMap;

use hyper::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::refusal::Refusal;

/// The parameters in a request's query. A name that comes twice counts once, the last one.
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    pub(crate) fn of(parts: &Parts) -> Self {
        let query = parts.uri.query().unwrap_or_default();
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// One that has to be there, and not empty.
    pub(crate) fn required(&self, name: &'static str) -> Result<&str, Refusal> {
        self.get(name).filter(|value| !value.is_empty()).ok_or(Refusal::Parameter(name))
    }

    /// One that is written in some other way than as text, if it is there.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, Refusal> {
        self.get(name).map(|value| value.parse().map_err(|_| Refusal::Parameter(name))).transpose()
    }

    /// One that is written as JSON, if it is there.
    pub(crate) fn json<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, Refusal> {
        self.get(name)
            .map(|value| serde_json::from_str(value).map_err(|_| Refusal::Parameter(name)))
            .transpose()
    }
}
