#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod answer;
mod baidu;
mod config;
mod control;
mod dialect;
mod example;
mod fault;
mod figure;
mod holding;
mod kuaishou;
mod latency;
mod limits;
mod meta;
mod oauth;
mod oceanengine;
mod query;
mod quota;
mod random;
mod rendered;
mod report;
mod row;
mod server;
mod state;
mod stats;
mod tencent;
mod tiktok;
mod truth;
mod window;
mod wire;
mod xiaohongshu;

pub use config::SimulatorConfig;
pub use fault::{Fault, FaultError, FaultKind};
pub use latency::{Latency, LatencyError};
pub use limits::Limits;
pub use oauth::OAuth;
pub use row::{Level, Metrics, Row};
pub use server::Simulator;
pub use stats::{Rate, Stats, ThrottledBy};
pub use truth::{TRUTH_SQL, core_truth, core_truth_sql, truth, truth_csv, truth_digest};
