//! Checks `[auth]`.

use std::{collections::BTreeMap, time::Duration};

use reqwest::{
    Url,
    header::{HeaderName, HeaderValue},
};
use toml::Table;

use super::request;
use crate::{
    definition::{
        auth::{Auth, OAuth, TokenPaths},
        document::{
            auth::{AlgorithmDoc, AuthDoc, Oauth2Doc, SignDoc, TokenResponseDoc},
            request::RequestDoc,
            serde_helpers::OneOrMany,
        },
        error::Wrong,
    },
    sign::{Sign, SignPlace},
    template::{Scope, Template, TemplateError},
};

/// How long before it expires an access token is refreshed, unless the definition says otherwise.
const REFRESH_BEFORE: Duration = Duration::from_secs(600);

/// What the request fills in that turns a code into tokens.
const EXCHANGE: &[&str] = &["app_id", "secret", "code", "redirect_uri", "timestamp", "timestamp_ms", "nonce"];

/// What the request fills in that turns a refresh token into new ones.
const REFRESH: &[&str] = &["app_id", "secret", "refresh_token", "timestamp", "timestamp_ms", "nonce"];

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
    let Oauth2Doc { authorize_url, refresh_before, exchange, refresh, response, .. } = document;
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
    Ok(OAuth {
        authorize_url: authorize_url
            .map(|text| self::authorize_url(&text, scope(&["app_id", "redirect_uri", "state"])))
            .transpose()?,
        refresh_before: refresh_before.map_or(REFRESH_BEFORE, |before| before.get()),
        response: token_paths(response)?,
        exchange: exchange.map(|document| request(&document, EXCHANGE, "code", "exchange")).transpose()?,
        refresh: request(&refresh, REFRESH, "refresh_token", "refresh")?,
    })
}

fn authorize_url(text: &str, scope: Scope<'_>) -> Result<Template, Wrong> {
    let wrong = |what: String| Wrong::at(["auth", "authorize_url"], what);
    let template = Template::of_text(text, scope).map_err(|TemplateError { what, .. }| wrong(what))?;
    let url = text.replace(['{', '}'], "").parse::<Url>();
    if url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some()) {
        Ok(template)
    } else {
        Err(wrong(format!("\"{text}\" is no URL: write https://host/path?…")))
    }
}

fn token_paths(document: TokenResponseDoc) -> Result<TokenPaths, Wrong> {
    let TokenResponseDoc {
        access_token: OneOrMany(access_token),
        access_expires_in: OneOrMany(access_expires_in),
        refresh_token: OneOrMany(refresh_token),
        refresh_expires_in: OneOrMany(refresh_expires_in),
        accounts: OneOrMany(accounts),
        account,
    } = document;
    if access_token.is_empty() {
        return Err(Wrong::at(
            ["auth", "response", "access_token"],
            "where does a response keep the access token?",
        ));
    }
    Ok(TokenPaths { access_token, access_expires_in, refresh_token, refresh_expires_in, accounts, account })
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
