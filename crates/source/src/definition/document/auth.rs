//! `[auth]` as it is written.

use pagemill_core::ConfigDuration;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{request::RequestDoc, serde_helpers::OneOrMany};

/// `[auth]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum AuthDoc {
    /// A token from the config.
    Token {
        /// The header that carries the token. Where it goes into query or body, leave it out and
        /// write "{token}" there.
        header: Option<String>,
        /// What stands before the token in its header.
        #[serde(default)]
        prefix: String,
        /// A signature of each request, by the config's secret.
        sign: Option<SignDoc>,
    },
    /// An access token that Pagemill refreshes.
    Oauth2(Box<Oauth2Doc>),
}

/// An access token that Pagemill refreshes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Oauth2Doc {
    /// The header that carries the access token; left out where "{token}" stands in query or body.
    pub(crate) header: Option<String>,
    /// What stands before the token in its header.
    #[serde(default)]
    pub(crate) prefix: String,
    /// A signature of each request, by the config's secret.
    pub(crate) sign: Option<SignDoc>,
    /// The URL at which a person grants access: {app_id}, {redirect_uri} and {state} are filled in.
    pub(crate) authorize_url: Option<String>,
    /// How long before it expires an access token is refreshed.
    #[schemars(with = "Option<String>")]
    pub(crate) refresh_before: Option<ConfigDuration>,
    /// The request that turns a code into tokens: {app_id}, {secret}, {code}.
    pub(crate) exchange: Option<RequestDoc>,
    /// The request that turns a refresh token into new ones: {app_id}, {secret}, {refresh_token}.
    pub(crate) refresh: RequestDoc,
    /// Where the responses to both keep what.
    pub(crate) response: TokenResponseDoc,
}

/// `[auth.response]`: paths into the response to an exchange or a refresh.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenResponseDoc {
    pub(crate) access_token: OneOrMany<String>,
    /// Seconds.
    #[serde(default)]
    pub(crate) access_expires_in: OneOrMany<String>,
    /// A response without one keeps the old one.
    #[serde(default)]
    pub(crate) refresh_token: OneOrMany<String>,
    /// Seconds.
    #[serde(default)]
    pub(crate) refresh_expires_in: OneOrMany<String>,
    /// An array of the accounts that the token covers.
    #[serde(default)]
    pub(crate) accounts: OneOrMany<String>,
    /// The account's id within an item; left out where the items are ids.
    pub(crate) account: Option<String>,
}

/// `[auth.sign]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignDoc {
    pub(crate) algorithm: AlgorithmDoc,
    /// The query's key that carries the signature.
    pub(crate) query: Option<String>,
    /// The header that carries the signature.
    pub(crate) header: Option<String>,
    /// What is signed, of {method}, {path}, {query}, {body}, {timestamp} and {nonce}.
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) enum AlgorithmDoc {
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
}
