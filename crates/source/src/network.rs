//! What went wrong below HTTP, in words: what, where, never the query or a secret.

use std::{error::Error, io, time::Duration};

use pagemill_core::Failure;
use reqwest::Url;

/// A request that got no whole response. All of these may pass.
pub(crate) fn failure(error: reqwest::Error, place: &str, timeout: Duration) -> Failure {
    // The URL stays out: only host and port are told.
    let error = error.without_url();
    let io = causes(&error).find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    let what = match io {
        _ if error.is_timeout() && error.is_connect() => format!("no connection to {place} in time"),
        _ if error.is_timeout() => format!("no whole response from {place} within {timeout:?}"),
        Some(io::ErrorKind::ConnectionRefused) => format!("connection refused by {place}"),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
            format!("connection reset by {place}")
        }
        _ if error.is_connect() => format!("no connection to {place}: {}", root(&error)),
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => {
            format!("the response of {place} cannot be decompressed: {}", root(&error))
        }
        _ => format!("no whole response from {place}: {}", root(&error)),
    };
    Failure::transient(what)
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}

fn root(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// Host and port: all of a URL that is told.
pub(crate) fn place(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or("?"), url.port_or_known_default().unwrap_or(0))
}
