//! The three programs: arguments, progress, tables and exit codes. Their work is done by `pagemill-engine`.
#![forbid(unsafe_code)]

pub mod consumer;
pub mod pagemill;
pub mod producer;

mod args;
mod built_in;
mod commands;
mod database;
#[cfg(feature = "embedded")]
mod embedded;
mod exit;
mod logging;
mod output;
mod progress;
