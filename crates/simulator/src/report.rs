//! The way of a request for a report: counted, read, held to the limits, and responded to with a page, a fault or
//! a refusal.

use std::{
    future,
    sync::atomic::{AtomicBool, Ordering},
};

use hyper::http::request::Parts;
use tokio::time::sleep;

use crate::{
    dialect::Dialect, fault::FaultKind, page::Page, page_request::PageRequest, random::mix, refusal::Refusal,
    response::Response, state::State,
};

/// A request for a report.
struct Report<'a> {
    state: &'a State,
    dialect: &'a dyn Dialect,
    path: &'a str,
    access_token: &'a str,
    /// Set if the connection is to end with a reset.
    reset: &'a AtomicBool,
    /// Among all since the start.
    number: u64,
    id: String,
}

/// Responds to one request for a report. `place` is the dialect's among all.
pub(crate) async fn respond(
    state: &State,
    reset: &AtomicBool,
    (place, dialect): (usize, &dyn Dialect),
    parts: &Parts,
    body: &[u8],
) -> Response {
    let number = state.arrive();
    let access_token =
        parts.headers.get("access-token").and_then(|token| token.to_str().ok()).unwrap_or_default();
    let id = format!("{:016x}{number:016x}", mix(state.config.seed ^ mix(number)));
    let report = Report { state, dialect, path: parts.uri.path(), access_token, reset, number, id };
    let read = dialect.read(parts, body, state.token(access_token));
    let of = read.as_ref().ok().map(|request| (request.account.as_str(), (place, request.level)));
    let admission = state.admit(of);
    let response = match admission.exceeds {
        Some(_) => report.refuse(&Refusal::Throttled),
        None => report.admitted(read).await,
    };
    match admission.budget.filter(|_| state.config.rate_headers) {
        Some(budget) => response
            .with("x-ratelimit-remaining", &budget.remaining.to_string())
            .with("x-ratelimit-reset", &budget.seconds().to_string()),
        None => response,
    }
}

impl Report<'_> {
    /// A request within the limits: delayed, struck by a fault, or served.
    async fn admitted(&self, read: Result<PageRequest, Refusal>) -> Response {
        let Self { state, path, number, .. } = *self;
        let latency = state.config.latency.of(state.config.seed, number);
        if !latency.is_zero() {
            sleep(latency).await;
        }
        let request = match read {
            Ok(request) => request,
            Err(refusal) => {
                state.count(|stats| stats.refused += 1);
                return self.refuse(&refusal);
            }
        };
        let fault = state.faults().decide(request.hash(), request.page, |kind| can_strike(kind, &request));
        // A token dies once, also where several requests with it are under way.
        if let Some(kind) = fault
            && (kind != FaultKind::Expire || state.expire(self.access_token))
        {
            state.count(|stats| stats.strike(kind));
        }
        let changes = state.faults().changes();
        // Responses are kept, and taken again, only where nothing goes wrong and nothing changed.
        let cache = state.cache.as_ref().filter(|_| fault.is_none() && changes.is_empty());
        if let Some(response) = cache.and_then(|cache| cache.get(path, &request)) {
            return self.served(&request, response);
        }
        let days = state.datasets(&request, &changes);
        let sums = state.sums(&request, &days).await;
        let draw = mix(state.config.seed ^ mix(number));
        let page = || self.dialect.page(&request, &Page::new(&days, &request, sums, fault, draw), &self.id);
        match fault {
            Some(fault) => self.struck(fault, &request, page).await,
            None => {
                let page = page();
                if let Some(cache) = cache {
                    cache.keep(path, &request, &page);
                }
                self.served(&request, page)
            }
        }
    }

    /// The response where the fault strikes; `page` renders the page, with its rows as the fault has them.
    async fn struck(
        &self,
        fault: FaultKind,
        request: &PageRequest,
        page: impl FnOnce() -> Response,
    ) -> Response {
        match fault {
            FaultKind::Error500 | FaultKind::FailPage => self.refuse(&Refusal::System),
            FaultKind::ErrorIn200 => self.refuse(&Refusal::System).with_status_ok(),
            FaultKind::Throttle => self.refuse(&Refusal::Throttled),
            FaultKind::Token | FaultKind::Expire => self.refuse(&Refusal::Token),
            FaultKind::UnknownColumns => self.refuse(&Refusal::Parameter("columns")),
            FaultKind::DeepPage => self.refuse(&Refusal::Parameter("page_num")),
            FaultKind::Reset => {
                self.reset.store(true, Ordering::Relaxed);
                page().broken()
            }
            FaultKind::Hang => future::pending().await,
            FaultKind::Garbage => Response::garbage(),
            FaultKind::BadTotal
            | FaultKind::NoKey
            | FaultKind::Ties
            | FaultKind::MovingTotal
            | FaultKind::ShortPage
            | FaultKind::RepeatedPage
            | FaultKind::SilentZeros
            | FaultKind::LoopCursor => page(),
            FaultKind::Gzip => self.served(request, page().gzipped()),
            FaultKind::Slow => {
                sleep(self.state.config.slow_for).await;
                self.served(request, page())
            }
            // A change strikes what is held, never a response.
            FaultKind::Insert | FaultKind::Remove | FaultKind::Swap | FaultKind::NeighbourDay => {
                self.served(request, page())
            }
        }
    }

    /// The response without a page.
    fn refuse(&self, refusal: &Refusal) -> Response {
        let response = self.dialect.refuse(refusal, &self.id);
        match self.state.config.retry_after.filter(|_| *refusal == Refusal::Throttled) {
            Some(seconds) => response.with("retry-after", &seconds.to_string()),
            None => response,
        }
    }

    /// Counts an ok page, and applies the changes that waited for the page.
    fn served(&self, request: &PageRequest, response: Response) -> Response {
        self.state.count(|stats| stats.serve(&request.account));
        self.state.apply_changes(request);
        response
    }
}

/// True if the fault means anything for the request.
fn can_strike(kind: FaultKind, request: &PageRequest) -> bool {
    match kind {
        FaultKind::RepeatedPage | FaultKind::LoopCursor => request.page > 1,
        FaultKind::UnknownColumns => !request.columns.is_empty(),
        FaultKind::SilentZeros => request.columns.is_empty(),
        _ => true,
    }
}
