//! Checks `[limits]`.

use std::time::Duration;

use crate::definition::{Limits, document::LimitsDoc, error::Wrong};

/// A page is waited for this long, from connecting to its last byte.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The largest body, decompressed.
const LARGEST_BODY: usize = 16 << 20;

pub(super) fn compile(document: LimitsDoc) -> Result<Limits, Wrong> {
    let timeout = document.timeout.map_or(TIMEOUT, |span| span.get());
    if timeout.is_zero() {
        return Err(Wrong::at(["limits", "timeout"], "a timeout is above 0"));
    }
    let body = document.max_body_bytes.unwrap_or(LARGEST_BODY);
    if body == 0 || body > 1 << 30 {
        return Err(Wrong::at(["limits", "max_body_bytes"], format!("{body}: bytes, at most 1 GiB")));
    }
    Ok(Limits { timeout, body })
}
