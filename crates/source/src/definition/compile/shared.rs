//! What all streams of a source share while they are checked, and the placeholders that their requests fill in.

use std::collections::BTreeMap;

use reqwest::Url;
use toml::Table;

use crate::{definition::document::columns::ColumnDoc, template::Scope, value::Reader};

/// The placeholders of requests for pages.
pub(super) const NAMES: [&str; 9] =
    ["account", "page", "page_size", "offset", "cursor", "token", "timestamp", "timestamp_ms", "nonce"];

/// These placeholders and one more.
pub(super) const fn with(names: [&'static str; 9], one: &'static str) -> [&'static str; 10] {
    let [a, b, c, d, e, f, g, h, i] = names;
    [a, b, c, d, e, f, g, h, i, one]
}

/// What the streams of a source share.
pub(super) struct Shared<'a> {
    pub(super) name: &'a str,
    pub(super) base_url: &'a Url,
    pub(super) groups: &'a BTreeMap<String, Vec<ColumnDoc>>,
    pub(super) reader: &'a Reader,
    pub(super) params: &'a Table,
    pub(super) api_names: &'a BTreeMap<String, Vec<String>>,
}

impl Shared<'_> {
    pub(super) fn scope<'s>(&'s self, names: &'s [&'static str]) -> Scope<'s> {
        Scope { names, days: true, params: self.params, columns: self.api_names }
    }
}
