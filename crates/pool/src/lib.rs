#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(not(test))]
mod clock;
mod job_outcome;
mod job_queue;
mod jobs;
mod monitor;
mod outcome_queue;
mod panic;
mod pool;
mod results;
#[cfg(test)]
mod schedules;
mod shared;
mod sync;
mod worker;

pub use job_outcome::JobOutcome;
pub use job_queue::Closed;
pub use jobs::Jobs;
pub use panic::Panic;
pub use pool::{Builder, Pool};
pub use results::Results;
pub use worker::BoxFuture;
