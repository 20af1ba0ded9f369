use std::{
    convert::Infallible,
    future,
    sync::atomic::{AtomicBool, Ordering},
};

use http_body_util::{BodyExt, Limited};
use hyper::{Request, Response, StatusCode, body::Incoming, http::request::Parts};
use tokio::time::sleep;

use crate::{
    FaultKind,
    answer::{Answer, Content},
    control,
    dialect::{Asked, Dialect, Page, Refusal, dialect, garbage},
    random::mix,
    state::State,
    xiaohongshu::token,
};

/// The longest request body that is read.
const MAX_BODY: usize = 1 << 20;

/// Answers one request, whoever it is for. `reset` is set if the connection is to end with a reset.
pub(crate) async fn answer(
    state: &State,
    reset: &AtomicBool,
    request: Request<Incoming>,
) -> Result<Response<Content>, Infallible> {
    let (parts, body) = request.into_parts();
    let answer = match (Limited::new(body, MAX_BODY).collect().await, dialect(parts.uri.path())) {
        (Err(_), _) => Answer::json(StatusCode::PAYLOAD_TOO_LARGE, r#"{"error":"the body is too large"}"#),
        (Ok(body), Some(dialect)) => {
            let answer = report(state, reset, dialect, &parts, &body.to_bytes()).await;
            state.count(|stats| stats.bytes += answer.len());
            answer
        }
        (Ok(body), None) if token::owns(parts.uri.path()) => token::answer(state, &parts, &body.to_bytes()),
        (Ok(body), None) => control::answer(state, &parts, &body.to_bytes()).await,
    };
    Ok(answer.into_response())
}

/// A request for a report.
struct Arrived<'a> {
    state: &'a State,
    dialect: &'a dyn Dialect,
    path: &'a str,
    access: &'a str,
    /// Among all since the start.
    number: u64,
    id: String,
}

/// One request for a report: counted, read, held to the limits, and answered.
async fn report(
    state: &State,
    reset: &AtomicBool,
    (place, dialect): (usize, &dyn Dialect),
    parts: &Parts,
    body: &[u8],
) -> Answer {
    let number = state.arrive();
    let access = parts.headers.get("access-token").and_then(|token| token.to_str().ok()).unwrap_or_default();
    let id = format!("{:016x}{number:016x}", mix(state.config.seed ^ mix(number)));
    let request = Arrived { state, dialect, path: parts.uri.path(), access, number, id };
    let read = dialect.read(parts, body, state.token(access));
    let of = read.as_ref().ok().map(|asked| (asked.account.as_str(), (place, asked.level)));
    let verdict = state.admit(of);
    let answer = match verdict.exceeds {
        Some(_) => request.refuse(&Refusal::Throttled),
        None => admitted(&request, reset, read).await,
    };
    match verdict.left.filter(|_| state.config.rate_headers) {
        Some(left) => answer
            .with("x-ratelimit-remaining", &left.remaining.to_string())
            .with("x-ratelimit-reset", &left.seconds().to_string()),
        None => answer,
    }
}

/// A request within the limits: delayed, struck by a fault or served.
async fn admitted(request: &Arrived<'_>, reset: &AtomicBool, read: Result<Asked, Refusal>) -> Answer {
    let Arrived { state, dialect, path, number, .. } = *request;
    let config = &state.config;
    let latency = config.latency.of(config.seed, number);
    if !latency.is_zero() {
        sleep(latency).await;
    }
    let asked = match read {
        Ok(asked) => asked,
        Err(refusal) => {
            state.count(|stats| stats.refused += 1);
            return request.refuse(&refusal);
        }
    };
    let fault = state.faults().decide(asked.hash(), asked.page, |kind| can_strike(kind, &asked));
    // A token dies once, also where several requests with it are under way.
    if let Some(kind) = fault
        && (kind != FaultKind::Expire || state.expire(request.access))
    {
        state.count(|stats| stats.strike(kind));
    }
    let changes = state.faults().changes();
    // Answers are kept, and taken again, only where nothing goes wrong and nothing changed.
    let rendered = state.rendered.as_ref().filter(|_| fault.is_none() && changes.is_empty());
    if let Some(answer) = rendered.and_then(|rendered| rendered.get(path, &asked)) {
        return served(state, &asked, answer);
    }
    let days = state.holdings(&asked, &changes);
    let sums = state.sums(&asked, &days).await;
    let draw = mix(config.seed ^ mix(number));
    let page = || dialect.page(&asked, &Page::new(&days, &asked, sums, fault, draw), &request.id);
    match fault {
        Some(FaultKind::Error500 | FaultKind::FailPage) => request.refuse(&Refusal::System),
        Some(FaultKind::ErrorIn200) => request.refuse(&Refusal::System).fine(),
        Some(FaultKind::Throttle) => request.refuse(&Refusal::Throttled),
        Some(FaultKind::Token | FaultKind::Expire) => request.refuse(&Refusal::Token),
        Some(FaultKind::UnknownColumns) => request.refuse(&Refusal::Parameter("columns")),
        Some(FaultKind::DeepPage) => request.refuse(&Refusal::Parameter("page_num")),
        Some(FaultKind::Reset) => {
            reset.store(true, Ordering::Relaxed);
            page().broken()
        }
        Some(FaultKind::Hang) => future::pending().await,
        Some(FaultKind::Garbage) => garbage(),
        Some(
            FaultKind::BadTotal
            | FaultKind::NoKey
            | FaultKind::Ties
            | FaultKind::MovingTotal
            | FaultKind::ShortPage
            | FaultKind::RepeatedPage
            | FaultKind::SilentZeros
            | FaultKind::LoopCursor,
        ) => page(),
        Some(FaultKind::Gzip) => served(state, &asked, page().gzipped()),
        Some(FaultKind::Slow) => {
            sleep(config.slow_for).await;
            served(state, &asked, page())
        }
        Some(FaultKind::Insert | FaultKind::Remove) | None => {
            let page = page();
            if let Some(rendered) = rendered {
                rendered.keep(path, &asked, &page);
            }
            served(state, &asked, page)
        }
    }
}

impl Arrived<'_> {
    /// The answer without a page.
    fn refuse(&self, refusal: &Refusal) -> Answer {
        let answer = self.dialect.refuse(refusal, &self.id);
        match self.state.config.retry_after.filter(|_| *refusal == Refusal::Throttled) {
            Some(seconds) => answer.with("retry-after", &seconds.to_string()),
            None => answer,
        }
    }
}

/// A good page: counted, and what waited for it comes to pass.
fn served(state: &State, asked: &Asked, answer: Answer) -> Answer {
    state.count(|stats| stats.serve(&asked.account));
    state.answered(asked);
    answer
}

/// Whether the fault means anything for the request.
fn can_strike(kind: FaultKind, asked: &Asked) -> bool {
    match kind {
        FaultKind::RepeatedPage | FaultKind::LoopCursor => asked.page > 1,
        FaultKind::UnknownColumns => !asked.columns.is_empty(),
        FaultKind::SilentZeros => asked.columns.is_empty(),
        _ => true,
    }
}
