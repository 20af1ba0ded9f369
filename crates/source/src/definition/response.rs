//! Where a response keeps what: the checked form of `[response]`.

use reqwest::header::HeaderName;

use crate::decode::EnvelopePlan;

/// Where a response keeps what, and which codes mean that all is well.
#[derive(Debug)]
pub(crate) struct ResponsePlan {
    pub(crate) envelope: EnvelopePlan,
    /// Paths of the code as written; none if the source has no codes.
    pub(crate) code: Vec<String>,
    /// None where any code will do.
    pub(crate) ok: Vec<String>,
    /// Whether something that only a failure has tells failures.
    pub(crate) error: bool,
    pub(crate) total: Vec<String>,
    pub(crate) total_header: Option<HeaderName>,
    pub(crate) rows: String,
    /// Whether the body is CSV with a header line instead of JSON.
    pub(crate) csv: bool,
}
