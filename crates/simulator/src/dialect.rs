//! The contract between a report's path and its platform. A dialect reads a request into a [`PageRequest`],
//! and writes a [`Page`] or a [`Refusal`] as its platform does.

use hyper::http::request::Parts;

use crate::{page::Page, page_request::PageRequest, refusal::Refusal, response::Response};

/// The format of one platform's requests and responses.
pub(crate) trait Dialect: Sync {
    /// True if the path is one of the platform's reports.
    fn owns(&self, path: &str) -> bool;
    /// The page that is requested, or why there is none.
    fn read(&self, parts: &Parts, body: &[u8], token: Option<&str>) -> Result<PageRequest, Refusal>;
    /// The response with the page.
    fn page(&self, request: &PageRequest, page: &Page, request_id: &str) -> Response;
    /// The response without a page.
    fn refuse(&self, refusal: &Refusal, request_id: &str) -> Response;
}
