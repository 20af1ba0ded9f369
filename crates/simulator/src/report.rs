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
    random::mix,
    state::State,
    xiaohongshu::{self, Flaw, Refusal, token},
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
    let answer = match Limited::new(body, MAX_BODY).collect().await {
        Err(_) => Answer::json(StatusCode::PAYLOAD_TOO_LARGE, r#"{"error":"the body is too large"}"#),
        Ok(body) if xiaohongshu::owns(parts.uri.path()) => {
            let answer = report(state, reset, &parts, &body.to_bytes()).await;
            state.count(|stats| stats.bytes += answer.len());
            answer
        }
        Ok(body) if token::owns(parts.uri.path()) => token::answer(state, &parts, &body.to_bytes()),
        Ok(body) => control::answer(state, &parts, &body.to_bytes()).await,
    };
    Ok(answer.into_response())
}

/// One request for a report: counted, held to the rate, delayed, read, struck by a fault or served.
async fn report(state: &State, reset: &AtomicBool, parts: &Parts, body: &[u8]) -> Answer {
    let config = &state.config;
    let number = state.arrive();
    let request_id = format!("{:016x}{number:016x}", mix(config.seed ^ mix(number)));
    if !state.admit() {
        state.count(|stats| stats.throttled += 1);
        return xiaohongshu::refuse(Refusal::Throttled, &request_id);
    }
    let latency = config.latency.of(config.seed, number);
    if !latency.is_zero() {
        sleep(latency).await;
    }
    let asked = match xiaohongshu::read(parts, body, |token| state.accepts(token)) {
        Ok(asked) => asked,
        Err(refusal) => {
            state.count(|stats| stats.refused += 1);
            return xiaohongshu::refuse(refusal, &request_id);
        }
    };
    let fault = state.faults().decide(asked.hash(), asked.page);
    if let Some(kind) = fault {
        state.count(|stats| stats.strike(kind));
    }
    let sums = state.sums(&asked).await;
    let page = |flaw| {
        let body = xiaohongshu::page(config, &asked, &sums, flaw, &request_id);
        Answer::json(StatusCode::OK, body)
    };
    match fault {
        Some(FaultKind::Error500 | FaultKind::FailPage) => xiaohongshu::refuse(Refusal::System, &request_id),
        Some(FaultKind::Throttle) => xiaohongshu::refuse(Refusal::Throttled, &request_id),
        Some(FaultKind::Token) => xiaohongshu::refuse(Refusal::Token, &request_id),
        Some(FaultKind::Expire) => {
            state.expire(xiaohongshu::access_token(parts));
            xiaohongshu::refuse(Refusal::Token, &request_id)
        }
        Some(FaultKind::Reset) => {
            reset.store(true, Ordering::Relaxed);
            page(Flaw::None).broken()
        }
        Some(FaultKind::Hang) => future::pending().await,
        Some(FaultKind::Garbage) => xiaohongshu::garbage(),
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
