//! How a request proves who sent it: as it is written, and checked.

use pagemill_core::Span;
use reqwest::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{error::Wrong, request::RequestDoc, words::OneOrMany};
use crate::sign::{Sign, SignPlace};

/// `[auth]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum AuthDoc {
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
#[allow(dead_code, reason = "the exchange of tokens is to come")]
pub(super) struct Oauth2Doc {
    /// The header that carries the access token; left out where "{token}" stands in query or body.
    pub(super) header: Option<String>,
    /// What stands before the token in its header.
    #[serde(default)]
    pub(super) prefix: String,
    /// A signature of each request, by the config's secret.
    pub(super) sign: Option<SignDoc>,
    /// The URL at which a person grants access: {app_id}, {redirect_uri} and {state} are filled in.
    pub(super) authorize: Option<String>,
    /// An access token is refreshed so long before it expires.
    #[schemars(with = "Option<String>")]
    pub(super) early: Option<Span>,
    /// The request that turns a code into tokens: {app_id}, {secret}, {code}.
    pub(super) exchange: Option<RequestDoc>,
    /// The request that turns a refresh token into new ones: {app_id}, {secret}, {refresh_token}.
    pub(super) refresh: RequestDoc,
    /// Where the answers to both keep what.
    pub(super) answer: TokenAnswerDoc,
}

/// `[auth.answer]`: paths into the answer to an exchange or a refresh.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "the exchange of tokens is to come")]
pub(super) struct TokenAnswerDoc {
    pub(super) access_token: OneOrMany<String>,
    /// Seconds.
    #[serde(default)]
    pub(super) access_expires_in: OneOrMany<String>,
    /// An answer without one keeps the old one.
    #[serde(default)]
    pub(super) refresh_token: OneOrMany<String>,
    /// Seconds.
    #[serde(default)]
    pub(super) refresh_expires_in: OneOrMany<String>,
    /// An array of the accounts that the token covers.
    #[serde(default)]
    pub(super) accounts: OneOrMany<String>,
    /// The account's id within an item; left out where the items are ids.
    pub(super) account: Option<String>,
}

/// `[auth.sign]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignDoc {
    pub(super) algorithm: AlgorithmDoc,
    /// The query's key that carries the signature.
    pub(super) query: Option<String>,
    /// The header that carries the signature.
    pub(super) header: Option<String>,
    /// What is signed, of {method}, {path}, {query}, {body}, {timestamp} and {nonce}.
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(super) enum AlgorithmDoc {
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
}

/// How a request proves who sent it.
#[derive(Debug)]
pub(crate) struct Auth {
    /// Carries the token, if it doesn't go into query or body.
    pub(crate) header: Option<HeaderName>,
    pub(crate) prefix: String,
    pub(crate) sign: Option<Sign>,
}

/// Checks `[auth]`.
pub(super) fn compile(document: AuthDoc) -> Result<Auth, Wrong> {
    let (header, prefix, sign) = match document {
        AuthDoc::Token { header, prefix, sign } => (header, prefix, sign),
        AuthDoc::Oauth2(oauth) => (oauth.header, oauth.prefix, oauth.sign),
    };
    HeaderValue::from_str(&prefix)
        .map_err(|_| Wrong::at(["auth", "prefix"], "not fit for a header: visible ASCII only"))?;
    Ok(Auth {
        header: header.as_deref().map(|name| header_name(name, &["auth", "header"])).transpose()?,
        prefix,
        sign: sign.map(self::sign).transpose()?,
    })
}

fn sign(document: SignDoc) -> Result<Sign, Wrong> {
    let SignDoc { algorithm: AlgorithmDoc::HmacSha256, query, header, text } = document;
    let place = match (query, header) {
        (Some(key), None) => SignPlace::Query(key),
        (None, Some(name)) => SignPlace::Header(header_name(&name, &["auth", "sign", "header"])?),
        _ => {
            return Err(Wrong::at(
                ["auth", "sign"],
                "write either query or header: where the signature goes",
            ));
        }
    };
    Sign::new(place, &text).map_err(|what| Wrong::at(["auth", "sign", "text"], what))
}

fn header_name(name: &str, at: &[&str]) -> Result<HeaderName, Wrong> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| Wrong::at([], format!("\"{name}\" is no header's name")).within(at))
}
