//! The way of a request: by its path to a report, to the tokens, or to the endpoints beside the API.

use std::{convert::Infallible, sync::atomic::AtomicBool};

use http_body_util::{BodyExt, Limited};
use hyper::{Request, StatusCode, body::Incoming};

use crate::{
    control, platforms, report,
    response::{Content, Response},
    state::State,
    token_endpoint,
};

/// The longest request body that is read.
const MAX_BODY: usize = 1 << 20;

/// Responds to one request. `reset` is set if the connection is to end with a reset.
pub(crate) async fn respond(
    state: &State,
    reset: &AtomicBool,
    request: Request<Incoming>,
) -> Result<hyper::Response<Content>, Infallible> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let response = match (Limited::new(body, MAX_BODY).collect().await, platforms::dialect(path)) {
        (Err(_), _) => Response::json(StatusCode::PAYLOAD_TOO_LARGE, r#"{"error":"the body is too large"}"#),
        (Ok(body), Some(dialect)) => {
            let response = report::respond(state, reset, dialect, &parts, &body.to_bytes()).await;
            state.count(|stats| stats.bytes += response.len());
            response
        }
        (Ok(body), None) if token_endpoint::owns(path) => {
            token_endpoint::respond(state, &parts, &body.to_bytes())
        }
        (Ok(body), None) => control::respond(state, &parts, &body.to_bytes()).await,
    };
    Ok(response.into_hyper())
}
