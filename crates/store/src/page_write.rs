//! A page on its way into the store, and what it says besides its rows.

use jiff::Timestamp;
use pagemill_core::{BodyDigest, CastFailure, FetchedPage, OutsideRows, PageJob, Rows};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use crate::table::DataTable;

/// A fetched page, ready to be stored.
#[derive(Debug)]
pub struct PageWrite {
    /// Which page.
    pub job: PageJob,
    /// The page's rows, without those of other days or accounts than its slice's.
    pub rows: Rows,
    /// Hashes of their keys, as [`Rows::key_hashes`] makes them.
    pub key_hashes: Vec<i64>,
    /// Hashes of the rows over all values, as [`Rows::row_hashes`] makes them.
    pub row_hashes: Vec<i64>,
    /// The total that the page states, if it does.
    pub total: Option<u64>,
    /// What the page says of the next page.
    pub next: Next,
    /// Sums, rows of other days or accounts, and what the page says of its columns: `sums`, `stated`, `outside`,
    /// `blank`, `absent`, `unmapped`.
    pub facts: Option<Value>,
    /// The API's id of the request.
    pub request_id: Option<String>,
    /// When the request was sent, on the database's clock.
    pub requested_at: Timestamp,
    /// The compressed body of the response, unless `keep_responses = false`.
    pub body: Option<Vec<u8>>,
    /// Values that became NULL.
    pub cast_failures: Vec<CastFailure>,
    /// Digest of the response body, without its request id.
    pub body_digest: Option<BodyDigest>,
    /// Set if the response equals that of the page in its job's baseline: the ledger takes all else from there.
    pub unchanged: Option<UnchangedPage>,
}

/// A page whose response equals an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnchangedPage {
    /// The number of rows.
    pub rows: u32,
    /// True if the earlier response is stored as this page's.
    pub keeps_response: bool,
}

/// What a page says of the next page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: pages are numbered, and the total says how many there are.
    Numbered,
    /// The next page's cursor or link.
    Is(String),
    /// There is no next page.
    Last,
}

impl PageWrite {
    /// A page of a table's stream as it came, requested at a time on the database's clock. Rows of other days or
    /// accounts than the slice's are left out: another slice's seal answers for them.
    pub fn new(
        table: &DataTable,
        job: PageJob,
        mut page: FetchedPage,
        requested_at: Timestamp,
        body: Option<Vec<u8>>,
    ) -> Self {
        let next = match page.next.clone() {
            _ if !table.rules.chained => Next::Numbered,
            Some(next) => Next::Is(next),
            None => Next::Last,
        };
        // The API's own sums count every row of its response.
        let sums = sums_of(table, &page.rows);
        let outside = page.rows.take_outside(&table.shape, &job.slice);
        Self {
            key_hashes: page.rows.key_hashes(&table.key),
            row_hashes: page.rows.row_hashes(),
            facts: facts_of(table, &page, sums, outside.as_ref()),
            total: page.total,
            next,
            request_id: page.request_id,
            requested_at,
            body,
            cast_failures: page.cast_failures,
            body_digest: page.body_digest,
            unchanged: None,
            rows: page.rows,
            job,
        }
    }

    /// A page that says the same as its job's baseline.
    pub fn unchanged(job: PageJob, same: UnchangedPage, request_id: String, requested_at: Timestamp) -> Self {
        Self {
            job,
            rows: Rows::default(),
            key_hashes: Vec::new(),
            row_hashes: Vec::new(),
            total: None,
            next: Next::Numbered,
            facts: None,
            request_id: Some(request_id).filter(|id| !id.is_empty()),
            requested_at,
            body: None,
            cast_failures: Vec::new(),
            body_digest: None,
            unchanged: Some(same),
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.unchanged.map_or(self.rows.len(), |same| same.rows as usize)
    }

    /// True if the page has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the seal wants to know of a page beside its keys; nothing of an ordinary one.
fn facts_of(
    table: &DataTable,
    page: &FetchedPage,
    sums: Option<Value>,
    outside: Option<&OutsideRows>,
) -> Option<Value> {
    let columns = &table.shape.columns;
    let mut facts = Map::new();
    let mut add = |name: &str, fact: Value| {
        if fact.as_array().is_none_or(|list| !list.is_empty()) {
            facts.insert(name.to_owned(), fact);
        }
    };
    if page.sums.iter().any(Option::is_some) {
        let names = table.rules.sums.iter().map(|&column| &columns[column].name);
        let stated = names.zip(&page.sums).filter_map(|(name, sum)| Some((name.clone(), text((*sum)?))));
        add("stated", Value::Object(stated.collect()));
    }
    if let Some(sums) = sums {
        add("sums", sums);
    }
    if let Some(OutsideRows { rows, example }) = outside {
        let keys = rows.key_hashes(&table.key);
        add("outside", json!({ "rows": rows.len(), "keys": keys, "example": example }));
    }
    if !page.rows.is_empty() {
        let blank =
            columns.iter().zip(page.rows.columns()).filter(|(shape, column)| !shape.key && column.is_blank());
        add("blank", blank.map(|(shape, _)| shape.name.as_str()).collect());
        add("absent", json!(page.absent));
        add("unmapped", json!(page.unmapped));
    }
    (!facts.is_empty()).then(|| facts.into())
}

/// Sums of the additive metrics, by their columns' names; `None` if there are no such metrics.
fn sums_of(table: &DataTable, rows: &Rows) -> Option<Value> {
    let metrics = table.rules.sums.iter();
    let sum = |&column: &usize| Some((table.shape.columns[column].name.clone(), text(rows.sum(column)?)));
    (!table.rules.sums.is_empty()).then(|| Value::Object(metrics.filter_map(sum).collect()))
}

/// Decimals are texts in JSON, so that they stay exact.
fn text(number: Decimal) -> Value {
    number.to_string().into()
}
