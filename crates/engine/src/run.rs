//! From what is asked to what is pulled: plan, produce, consume.

pub mod consume;
pub mod days;
pub mod deadline;
pub mod forecast;
pub mod plan;
pub mod produce;
mod serve;
mod sizing;
