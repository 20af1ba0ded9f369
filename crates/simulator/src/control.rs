//! The endpoints beside the API: `GET /stats`, `GET /truth`, `POST /control`.

use hyper::{Method, StatusCode, http::request::Parts};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;

use crate::{
    fault::{Fault, FaultError, FaultKind},
    limits::Limits,
    response::Response,
    state::State,
    truth::truth_digest,
};

pub(crate) async fn respond(state: &State, parts: &Parts, body: &[u8]) -> Response {
    match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/stats") => ok(json!(state.stats())),
        (&Method::GET, "/truth") => truth(state, parts.uri.query().unwrap_or_default()).await,
        (&Method::POST, "/control") => control(state, body).unwrap_or_else(bad),
        (_, path) => {
            Response::json(StatusCode::NOT_FOUND, json!({"error": format!("there is no {path}")}).to_string())
        }
    }
}

/// Switches one fault on or off.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    fault: String,
    page: Option<u64>,
    rate: Option<f64>,
    on: bool,
}

/// What names a fault is about it; anything else is about limits.
fn control(state: &State, body: &[u8]) -> Result<Response, String> {
    let body: Map<String, Value> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if body.contains_key("fault") {
        serde_json::from_value(body.into())
            .map_err(|error| error.to_string())
            .and_then(|command| fault(state, command))
    } else {
        limits(state, body)
    }
}

/// The limits named change, the others stay.
fn limits(state: &State, change: Map<String, Value>) -> Result<Response, String> {
    let mut quota = state.quota();
    let mut limits = json!(quota.limits());
    for (name, limit) in change {
        limits[name] = limit;
    }
    let limits: Limits = serde_json::from_value(limits).map_err(|error| error.to_string())?;
    quota.set_limits(limits);
    Ok(ok(json!({ "limits": limits })))
}

fn fault(state: &State, Command { fault, page, rate, on }: Command) -> Result<Response, String> {
    let kind: FaultKind = fault.parse().map_err(|error: FaultError| error.to_string())?;
    if on {
        let rate = rate.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&rate) {
            return Err(format!("the rate {rate} is not between 0 and 1"));
        }
        if kind.is_of_pages() && page.is_none() {
            return Err(format!("{fault} needs a page"));
        }
        state.faults().set(Fault { kind, rate, page });
    } else {
        state.faults().clear(kind, page);
    }
    let on: Vec<_> = state.faults().on().iter().map(Fault::to_string).collect();
    Ok(ok(json!({ "faults": on })))
}

async fn truth(state: &State, query: &str) -> Response {
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    let date = value("date").and_then(|date| date.parse().ok());
    let (Some(account), Some(date)) = (value("account"), date) else {
        return bad("write /truth?account=ID&date=YYYY-MM-DD".to_owned());
    };
    let (mut config, of) = (state.config.clone(), account.clone());
    config.faults = state.faults().changes();
    match spawn_blocking(move || truth_digest(&config, &of, date)).await {
        Ok(digest) => {
            let rows = digest.split(':').next().and_then(|rows| rows.parse::<u64>().ok());
            ok(json!({"account": account, "date": date, "rows": rows, "digest": digest}))
        }
        Err(error) => {
            Response::json(StatusCode::INTERNAL_SERVER_ERROR, json!({"error": error.to_string()}).to_string())
        }
    }
}

fn ok(body: serde_json::Value) -> Response {
    Response::json(StatusCode::OK, body.to_string())
}

fn bad(error: String) -> Response {
    Response::json(StatusCode::BAD_REQUEST, json!({ "error": error }).to_string())
}
