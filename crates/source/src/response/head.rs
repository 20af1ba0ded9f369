//! What comes before the body of a response: status and headers.

use std::time::Duration;

use pagemill_core::{Budget, Failure, FailureClass};
use reqwest::{
    Response, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, LINK, LOCATION, RETRY_AFTER},
};

use crate::{definition::BudgetHeaders, network::place};

/// No API is waited for longer at its word.
const LONGEST_RETRY_AFTER: u64 = 86_400;

/// What comes before the body of a response.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    /// What its headers say is left.
    pub(crate) budget: Option<Budget>,
    /// What the header that states the total says.
    pub(crate) total: Option<String>,
    /// The header `Link`.
    pub(crate) link: Option<String>,
    /// The URL that was requested.
    pub(crate) url: Option<Url>,
    /// The body was kept, and the headers are gone.
    pub(crate) replayed: bool,
}

impl ResponseHead {
    /// Reads the headers of a response to a request for a URL.
    pub(crate) fn new(
        response: &Response,
        url: Url,
        total: Option<&HeaderName>,
        names: Option<&BudgetHeaders>,
    ) -> Self {
        let headers = response.headers();
        let header = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let links: Vec<_> = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).collect();
        Self {
            status: response.status().as_u16(),
            content_type: header(&CONTENT_TYPE).map(str::to_owned),
            location: header(&LOCATION)
                .map(|to| to.parse().map_or_else(|_| "another path".into(), |to| place(&to))),
            retry_after: retry_after(headers),
            budget: names.and_then(|names| budget(headers, names)),
            total: total.and_then(header).map(str::to_owned),
            link: (!links.is_empty()).then(|| links.join(", ")),
            url: Some(url),
            replayed: false,
        }
    }

    /// Adds to a failure what the API said about waiting.
    pub(crate) fn with_retry_after(&self, failure: Failure) -> Failure {
        // A budget that is used up says too when to come again.
        let reset = self.budget.filter(|budget| budget.remaining == 0).map(|budget| budget.reset);
        let retry_after = self.retry_after.or(reset.filter(|_| failure.class == FailureClass::Throttled));
        Failure { retry_after, ..failure }
    }
}

/// The quota that headers tell of; where no header says when it begins anew, within a second.
fn budget(headers: &HeaderMap, names: &BudgetHeaders) -> Option<Budget> {
    let number = |name: &HeaderName| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let reset = names.reset.as_ref().map_or(Some(1.0), number)?.clamp(0.0, LONGEST_RETRY_AFTER as f64);
    Some(Budget {
        remaining: number(&names.remaining)?.max(0.0) as u32,
        reset: Duration::from_secs_f64(reset),
    })
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST_RETRY_AFTER)))
}
