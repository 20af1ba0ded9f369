#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod blocking;
mod clock;
mod exchange;
mod jobs;
mod monitor;
mod outbox;
mod outcome;
mod panic;
mod pool;
mod queue;
mod results;
mod stopper;
mod worker;

pub use blocking::blocking;
pub use jobs::{Closed, Jobs, Refused};
pub use outcome::Outcome;
pub use panic::Panic;
pub use pool::{BoxFuture, Builder, Pool};
pub use results::Results;
pub use stopper::{Stopped, Stopper};
