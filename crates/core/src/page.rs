use bytes::Bytes;

use crate::Rows;

/// A page as it came: its rows in typed columns, and what the answer said about itself.
#[derive(Debug)]
pub struct FetchedPage {
    /// The rows, keys never NULL.
    pub rows: Rows,
    /// The partition's total as stated on this page.
    pub total: u64,
    /// The API's id of the request.
    pub request_id: Option<String>,
    /// The answer's body as received, decompressed.
    pub body: Bytes,
    /// Values that did not follow their column's grammar and became NULL.
    pub cast_failures: Vec<CastFailure>,
}

/// Values of one column that could not be read, counted, with one sample.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CastFailure {
    /// Column name.
    pub column: String,
    /// How many on this page.
    pub count: u32,
    /// The first of them, cut to 64 bytes.
    pub sample: String,
}
