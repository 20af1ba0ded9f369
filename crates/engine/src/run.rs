//! From a request to its pages: plan, produce, consume.

pub mod consume;
pub mod days;
pub mod deadline;
pub mod forecast;
pub mod plan;
pub mod produce;
pub mod request;
mod serve;
mod sizing;
