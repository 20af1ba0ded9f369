//! Pagemill's composition: config, planning, the pipeline, and what the binaries
//! `pagemill-producer` and `pagemill-consumer` run.
//!
//! One page's way is [`pipeline`], top to bottom.
#![forbid(unsafe_code)]

pub mod app;
pub mod args;
pub mod config;
pub mod consume;
pub mod crash;
pub mod credentials;
mod days;
pub mod deadline;
pub mod drift;
pub mod exit;
pub mod logging;
pub mod outlook;
pub mod pipeline;
pub mod plan;
pub mod produce;
pub mod progress;
pub mod quota;
pub mod reload;
pub mod rescue;
pub mod sources;
pub mod stop;
pub mod times;
