use std::collections::BTreeMap;

use serde::Serialize;

use crate::FaultKind;

/// What happened since the start. Every request seen is served, throttled, refused, struck by a fault,
/// given up by its client, or still under way; one struck by `slow` is served as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Requests for reports.
    pub seen: u64,
    /// Within the limits.
    pub admitted: u64,
    /// Answered with a good page.
    pub served: u64,
    /// Turned away because they exceeded the rate; the fault `throttle` is not counted here.
    pub throttled: u64,
    /// Turned away because of their token, method or parameters.
    pub refused: u64,
    /// Struck by a fault, by its name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Codes exchanged for tokens.
    pub exchanges: u64,
    /// Refresh tokens exchanged for new ones.
    pub refreshes: u64,
    /// Requests for tokens that got none.
    pub denied: u64,
    /// Bytes of all answers' bodies.
    pub bytes: u64,
    /// How fast requests came, the throttled ones included.
    pub rate: Rate,
}

/// Requests per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rate {
    /// Within the last second.
    pub now: u64,
    /// The most within any one second since the start.
    pub max: u64,
}

impl Stats {
    pub(crate) fn strike(&mut self, kind: FaultKind) {
        *self.faults.entry(kind.name()).or_default() += 1;
    }
}
