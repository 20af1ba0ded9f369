#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod config;
mod connection;
mod control;
mod dataset;
mod day;
mod dialect;
mod fault;
mod faults;
mod grants;
mod latency;
mod level;
mod limits;
mod metrics;
mod number;
mod oauth;
mod page;
mod page_request;
mod platforms;
mod quota;
mod random;
mod refusal;
mod report;
mod response;
mod response_cache;
mod routes;
mod row;
mod server;
mod state;
mod stats;
mod token_endpoint;
mod truth;
mod window;

pub use config::SimulatorConfig;
pub use fault::{Fault, FaultError, FaultKind};
pub use latency::{Latency, LatencyError};
pub use level::Level;
pub use limits::Limits;
pub use metrics::Metrics;
pub use oauth::OAuth;
pub use row::Row;
pub use server::Simulator;
pub use stats::{Rate, Stats, ThrottledBy};
pub use truth::{TRUTH_SQL, core_truth, core_truth_sql, truth, truth_csv, truth_digest};
