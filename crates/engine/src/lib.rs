//! The engine: config, planning, the pipeline of a page, partitions, and an operator's work.
//!
//! [`pipeline`] is the way of one page, top to bottom. Arguments, progress bars, exit codes and `main` are the
//! crate `pagemill-cli`'s.
#![forbid(unsafe_code)]

pub mod app;
pub mod config;
pub mod crash;
pub mod credentials;
pub mod error;
pub mod identity;
pub mod operations;
pub mod partition;
pub mod pipeline;
pub mod quota;
pub mod reconcile;
pub mod run;
pub mod sources;
#[cfg(test)]
mod stepper;
pub mod stop;
