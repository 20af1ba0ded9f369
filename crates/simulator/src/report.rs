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
    dialect::{Dialect, Flaw, Page, Refusal, dialect, garbage},
    random::mix,
    state::State,
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
    if !state.admit() {
        state.count(|stats| stats.throttled += 1);
        return dialect.refuse(&Refusal::Throttled, &request_id);
    }
    let latency = config.latency.of(config.seed, number);
    if !latency.is_zero() {
        sleep(latency).await;
    }
    let asked = match dialect.read(parts, body, config.token.as_deref()) {
        Ok(asked) => asked,
        Err(refusal) => {
            state.count(|stats| stats.refused += 1);
            return dialect.refuse(&refusal, &request_id);
        }
    };
    let fault = state.faults().decide(asked.hash(), asked.page);
    if let Some(kind) = fault {
        state.count(|stats| stats.strike(kind));
    }
    let sums = state.sums(&asked).await;
    let page = |flaw| dialect.page(&asked, &Page::new(config, &asked, sums, flaw), &request_id);
    match fault {
        Some(FaultKind::Error500 | FaultKind::FailPage) => dialect.refuse(&Refusal::System, &request_id),
        Some(FaultKind::Throttle) => dialect.refuse(&Refusal::Throttled, &request_id),
        Some(FaultKind::Token) => dialect.refuse(&Refusal::Token, &request_id),
        Some(FaultKind::Reset) => {
            reset.store(true, Ordering::Relaxed);
            page(Flaw::None).broken()
        }
        Some(FaultKind::Hang) => future::pending().await,
        Some(FaultKind::Garbage) => garbage(),
        Some(FaultKind::BadTotal) => page(Flaw::BadTotal),
        Some(FaultKind::NoKey) => page(Flaw::NoKey),
        Some(FaultKind::Slow) => {
            sleep(config.slow_for).await;
            state.count(|stats| stats.served += 1);
            page(Flaw::None)
        }
        None => {
            state.count(|stats| stats.served += 1);
            page(Flaw::None)
        }
    }
}
