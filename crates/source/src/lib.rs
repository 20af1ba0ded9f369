#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod answer;
mod ask;
mod client;
mod decode;
mod definition;
mod grammar;
mod link;
mod network;
mod oauth;
mod params;
mod request;
mod rules;
mod sign;
mod template;
mod trie;
mod value;

pub use ask::Credential;
pub use client::{Client, ClientError, Fetch};
pub use definition::{Definition, DefinitionError, Paging, Rate, Stream, UnknownStream, Windows};
pub use oauth::{App, Granted};
pub use pagemill_core::Restate;
