use bytes::Bytes;
use rust_decimal::Decimal;

use crate::{body_digest::BodyDigest, rows::Rows};

/// A page as it came: its rows in typed columns, and what the response said about itself.
#[derive(Debug)]
pub struct FetchedPage {
    /// The rows, keys never NULL.
    pub rows: Rows,
    /// The partition's total as stated on this page; `None` where the API states none.
    pub total: Option<u64>,
    /// Cursor or link of the page after this one. `None` on the last page, and where pages
    /// are numbered.
    pub next: Option<String>,
    /// The API's own sums of the partition's additive metrics, as stated on this page, in the order
    /// of the stream's `sums`; empty where it states none.
    pub sums: Vec<Option<Decimal>>,
    /// The API's id of the request.
    pub request_id: Option<String>,
    /// Digest of the body; `None` where the body does not say all there is to the page.
    pub body_digest: Option<BodyDigest>,
    /// The response's body as received, decompressed.
    pub body: Bytes,
    /// Values that did not follow their column's grammar and became NULL.
    pub cast_failures: Vec<CastFailure>,
    /// Fields of the rows that no column takes, by name, sorted.
    pub unmapped: Vec<String>,
    /// Columns read from the rows whose field is on no row of this page; none on a page without rows.
    pub absent: Vec<String>,
    /// What the API says is left of its quota.
    pub budget: Option<Budget>,
}

/// The API's own word on its quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Further requests that it permits.
    pub remaining: u32,
    /// When that number is reset.
    pub reset: std::time::Duration,
}

/// Values of one column that could not be read, counted, with one sample.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CastFailure {
    /// Column name.
    pub column: String,
    /// Values on this page.
    pub count: u32,
    /// The first of them, cut to 64 bytes.
    pub sample: String,
}
