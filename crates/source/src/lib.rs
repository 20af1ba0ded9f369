#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod answer;
mod client;
mod decode;
mod definition;
mod grammar;
mod network;
mod params;
mod rules;
mod template;
mod trie;
mod value;

pub use client::{Client, ClientError};
pub use definition::{Definition, DefinitionError, Rate, Stream, UnknownStream};
