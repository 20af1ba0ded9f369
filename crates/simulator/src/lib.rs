#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod answer;
mod config;
mod control;
mod fault;
mod latency;
mod oauth;
mod quota;
mod random;
mod report;
mod row;
mod server;
mod state;
mod stats;
mod truth;
mod wire;
mod xiaohongshu;

pub use config::SimulatorConfig;
pub use fault::{Fault, FaultError, FaultKind};
pub use latency::{Latency, LatencyError};
pub use oauth::OAuth;
pub use row::{Metrics, Row};
pub use server::Simulator;
pub use stats::{Rate, Stats};
pub use truth::{TRUTH_SQL, truth, truth_csv, truth_digest};
