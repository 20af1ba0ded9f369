use std::time::Duration;

use crate::{fault::Fault, latency::Latency, limits::Limits, oauth::OAuth};

/// What the simulated API holds, and how it behaves.
#[derive(Clone)]
pub struct SimulatorConfig {
    /// Port on 127.0.0.1; 0 takes any free one.
    pub port: u16,
    /// Rows of each account and day.
    pub rows: u64,
    /// Seed: equal seeds give equal rows, latencies and faults.
    pub seed: u64,
    /// How many requests are permitted; `/control` and [`crate::Simulator::set_limits`] change it later.
    pub limits: Limits,
    /// `Retry-After` of a throttled response, in seconds.
    pub retry_after: Option<u32>,
    /// Every response states what remains in `X-RateLimit-Remaining` and `X-RateLimit-Reset`.
    pub rate_headers: bool,
    /// How long a response takes.
    pub latency: Latency,
    /// What goes wrong from the start; `/control` and [`crate::Simulator::set_fault`] change it later.
    pub faults: Vec<Fault>,
    /// The access token that a request needs; `None` accepts any that isn't empty, unless there is `oauth`.
    pub token: Option<String>,
    /// Grants access tokens, which are accepted beside `token`.
    pub oauth: Option<OAuth>,
    /// How long a `slow` response takes on top of its latency.
    pub slow_for: Duration,
    /// Renders each ok response once; later ones are equal to the byte, `request_id` included.
    pub rendered: bool,
}

impl SimulatorConfig {
    /// The port when none is given.
    pub const PORT: u16 = 8765;
    /// The seed when none is given.
    pub const SEED: u64 = 42;
    /// The rows of each account and day when none are given.
    pub const ROWS: u64 = 100_000;
    /// The most rows an account can have a day: beyond it two accounts' ids would meet.
    pub const MAX_ROWS: u64 = 1 << 28;
    /// How long a `slow` response takes by default.
    pub const SLOW_FOR: Duration = Duration::from_secs(5);
    /// The most bytes of rendered responses that are kept.
    pub const MAX_RENDERED: u64 = 2 << 30;
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            port: Self::PORT,
            rows: Self::ROWS,
            seed: Self::SEED,
            limits: Limits::default(),
            retry_after: None,
            rate_headers: false,
            latency: Latency::default(),
            faults: Vec::new(),
            token: None,
            oauth: None,
            slow_for: Self::SLOW_FOR,
            rendered: false,
        }
    }
}
