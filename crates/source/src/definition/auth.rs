//! How a request proves who sent it: as it is written, and checked.

use std::{collections::BTreeMap, time::Duration};

use pagemill_core::ConfigDuration;
use reqwest::{
    Url,
    header::{HeaderName, HeaderValue},
};
use schemars::JsonSchema;
use serde::Deserialize;
use toml::Table;

use super::{
    error::Wrong,
    request::{self, RequestDoc},
    words::OneOrMany,
};
use crate::{
    oauth::{OAuth, TokenAnswer},
    sign::{Sign, SignPlace},
    template::{Scope, Template, TemplateError},
};

/// An access token is refreshed so long before it expires, unless the definition says otherwise.
const EARLY: Duration = Duration::from_secs(600);

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
    pub(super) early: Option<ConfigDuration>,
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
    /// How tokens are granted and refreshed, unless they come from the config.
    pub(crate) oauth: Option<OAuth>,
}

/// Checks `[auth]`.
pub(super) fn compile(document: AuthDoc, base_url: &Url, params: &Table) -> Result<Auth, Wrong> {
    let (header, prefix, sign, oauth) = match document {
        AuthDoc::Token { header, prefix, sign } => (header, prefix, sign, None),
        AuthDoc::Oauth2(mut oauth) => {
            let (header, prefix, sign) =
                (oauth.header.take(), std::mem::take(&mut oauth.prefix), oauth.sign.take());
            (header, prefix, sign, Some(self::oauth(*oauth, base_url, params)?))
        }
    };
    HeaderValue::from_str(&prefix)
        .map_err(|_| Wrong::at(["auth", "prefix"], "not fit for a header: visible ASCII only"))?;
    Ok(Auth {
        header: header.as_deref().map(|name| header_name(name, &["auth", "header"])).transpose()?,
        prefix,
        sign: sign.map(self::sign).transpose()?,
        oauth,
    })
}

fn oauth(document: Oauth2Doc, base_url: &Url, params: &Table) -> Result<OAuth, Wrong> {
    let Oauth2Doc { authorize, early, exchange, refresh, answer, .. } = document;
    let columns = BTreeMap::new();
    let scope = |names| Scope { names, days: false, params, columns: &columns };
    let request = |document: &RequestDoc, names, proof: &str, key: &str| {
        let plan =
            request::compile(document, base_url, scope(names)).map_err(|e| e.within(&["auth", key]))?;
        if plan.names(&[proof]) {
            return Ok(plan);
        }
        Err(Wrong::at(["auth", key], format!("the request must carry {{{proof}}}")))
    };
    let authorize = authorize.map(|text| {
        let wrong = |what: String| Wrong::at(["auth", "authorize"], what);
        let template = Template::of_text(&text, scope(&["app_id", "redirect_uri", "state"]))
            .map_err(|TemplateError { what, .. }| wrong(what))?;
        let url = text.replace(['{', '}'], "").parse::<Url>();
        let good = url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
        if good {
            Ok(template)
        } else {
            Err(wrong(format!("\"{text}\" is no URL: write https://host/path?…")))
        }
    });
    let TokenAnswerDoc {
        access_token: OneOrMany(access_token),
        access_expires_in: OneOrMany(access_expires_in),
        refresh_token: OneOrMany(refresh_token),
        refresh_expires_in: OneOrMany(refresh_expires_in),
        accounts: OneOrMany(accounts),
        account,
    } = answer;
    if access_token.is_empty() {
        return Err(Wrong::at(
            ["auth", "answer", "access_token"],
            "where does an answer keep the access token?",
        ));
    }
    const EXCHANGE: &[&str] =
        &["app_id", "secret", "code", "redirect_uri", "timestamp", "timestamp_ms", "nonce"];
    const REFRESH: &[&str] = &["app_id", "secret", "refresh_token", "timestamp", "timestamp_ms", "nonce"];
    Ok(OAuth {
        authorize: authorize.transpose()?,
        early: early.map_or(EARLY, |early| early.get()),
        exchange: exchange.map(|document| request(&document, EXCHANGE, "code", "exchange")).transpose()?,
        refresh: request(&refresh, REFRESH, "refresh_token", "refresh")?,
        answer: TokenAnswer {
            access_token,
            access_expires_in,
            refresh_token,
            refresh_expires_in,
            accounts,
            account,
        },
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
