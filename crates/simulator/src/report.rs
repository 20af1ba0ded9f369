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

/// One request for a report: counted, held to the rate, delayed, read, struck by a fault or served.
async fn report(
    state: &State,
    reset: &AtomicBool,
    dialect: &dyn Dialect,
    parts: &Parts,
    body: &[u8],
) -> Answer {
    let config = &state.config;
    let number = state.arrive();
    let request_id = format!("{:016x}{number:016x}", mix(config.seed ^ mix(number)));
    let admitted = state.admit();
    state.count(|stats| *if admitted { &mut stats.admitted } else { &mut stats.throttled } += 1);
    if !admitted {
        return dialect.refuse(&Refusal::Throttled, &request_id);
    }
    let latency = config.latency.of(config.seed, number);
    if !latency.is_zero() {
        sleep(latency).await;
    }
    let access = parts.headers.get("access-token").and_then(|token| token.to_str().ok()).unwrap_or_default();
    let asked = match dialect.read(parts, body, state.token(access)) {
        Ok(asked) => asked,
        Err(refusal) => {
            state.count(|stats| stats.refused += 1);
            return dialect.refuse(&refusal, &request_id);
        }
    };
    let fault = state.faults().decide(asked.hash(), asked.page, |kind| can_strike(kind, &asked));
    if let Some(kind) = fault {
        state.count(|stats| stats.strike(kind));
    }
    let changes = state.faults().changes();
    // Answers are kept, and taken again, only where nothing goes wrong and nothing changed.
    let path = parts.uri.path();
    let rendered = state.rendered.as_ref().filter(|_| fault.is_none() && changes.is_empty());
    if let Some(answer) = rendered.and_then(|rendered| rendered.get(path, &asked)) {
        return served(state, &asked, answer);
    }
    let days = state.holdings(&asked, &changes);
    let sums = state.sums(&asked, &days).await;
    let draw = mix(config.seed ^ mix(number));
    let page = || dialect.page(&asked, &Page::new(&days, &asked, sums, fault, draw), &request_id);
    let refuse = |refusal| dialect.refuse(&refusal, &request_id);
    match fault {
        Some(FaultKind::Error500 | FaultKind::FailPage) => refuse(Refusal::System),
        Some(FaultKind::ErrorIn200) => refuse(Refusal::System).fine(),
        Some(FaultKind::Throttle) => refuse(Refusal::Throttled),
        Some(FaultKind::Token) => refuse(Refusal::Token),
        Some(FaultKind::Expire) => {
            state.expire(access);
            refuse(Refusal::Token)
        }
        Some(FaultKind::UnknownColumns) => refuse(Refusal::Parameter("columns")),
        Some(FaultKind::DeepPage) => refuse(Refusal::Parameter("page_num")),
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

/// A good page: counted, and what waited for it comes to pass.
fn served(state: &State, asked: &Asked, answer: Answer) -> Answer {
    state.count(|stats| stats.served += 1);
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
