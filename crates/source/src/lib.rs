#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod client;
mod credential;
mod decode;
mod definition;
mod grant;
mod http;
mod json_paths;
mod link;
mod network;
mod number;
mod number_format;
mod params;
mod request;
mod request_builder;
mod response;
mod rules;
mod sign;
mod template;
mod value;

pub use self::{
    client::{Client, ClientError, Fetch},
    credential::Credential,
    definition::{Definition, DefinitionError, Paging, Rate, Stream, UnknownStream, Windows},
    grant::{Granted, OAuthApp},
};
pub use pagemill_core::Restate;
