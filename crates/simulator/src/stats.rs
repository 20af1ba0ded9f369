use std::collections::BTreeMap;

use serde::Serialize;

use crate::{fault::FaultKind, limits::Scope};

/// What happened since the start. Every request seen is served, throttled, refused, struck by a fault,
/// given up by its client, or still under way; one struck by `slow` is served as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Requests for reports.
    pub seen: u64,
    /// Within the limits.
    pub admitted: u64,
    /// Ok pages served.
    pub served: u64,
    /// Turned away because they exceeded a limit; the fault `throttle` is not counted here.
    pub throttled: u64,
    /// The throttled ones by whose limit they exceeded, the first of several.
    pub throttled_by: ThrottledBy,
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
    /// Ok pages served, by account.
    pub served_by_account: BTreeMap<String, u64>,
    /// Bytes of all responses' bodies.
    pub bytes: u64,
    /// How fast requests came, the throttled ones included.
    pub rate: Rate,
}

/// Throttled requests by the scope of the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ThrottledBy {
    /// Those over all accounts and reports.
    pub app: u64,
    /// An account's.
    pub account: u64,
    /// A report's.
    pub stream: u64,
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
    /// Counts a request that exceeds a limit.
    pub(crate) fn throttle(&mut self, scope: Scope) {
        self.throttled += 1;
        let by = &mut self.throttled_by;
        *match scope {
            Scope::App => &mut by.app,
            Scope::Account => &mut by.account,
            Scope::Stream => &mut by.stream,
        } += 1;
    }

    /// Counts an ok page.
    pub(crate) fn serve(&mut self, account: &str) {
        self.served += 1;
        match self.served_by_account.get_mut(account) {
            Some(served) => *served += 1,
            None => {
                self.served_by_account.insert(account.to_owned(), 1);
            }
        }
    }

    pub(crate) fn strike(&mut self, kind: FaultKind) {
        *self.faults.entry(kind.name()).or_default() += 1;
    }
}
