//! Access granted by a person: from a code to tokens, and from a refresh token to the next ones.

use std::time::Duration;

use bytes::Bytes;
use pagemill_core::Failure;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value as Json;

use crate::{
    client::Client,
    definition::{Definition, OAuth, TokenPaths},
    request::{RequestPlan, escape},
    response::{self, ResponseHead},
    sign::Stamps,
    template::{Values, scalar_text},
};

/// No token is taken to live longer, whatever the API says.
const LONGEST: u64 = 10 * 366 * 86_400;

/// An app that is registered with the API: access is granted to it.
#[derive(Clone, Debug)]
pub struct OAuthApp {
    /// The app's id.
    pub id: String,
    /// What proves that it is the app.
    pub secret: SecretString,
}

/// What the API granted. Every API that rotates tokens takes back the old ones at once: store these
/// before they are used.
#[derive(Clone, Debug)]
pub struct Granted {
    /// Goes with requests.
    pub access_token: SecretString,
    /// How long it lives, where the API says so.
    pub access_expires_in: Option<Duration>,
    /// Buys the next tokens; a response without one keeps the old one.
    pub refresh_token: Option<SecretString>,
    /// How long that lives.
    pub refresh_expires_in: Option<Duration>,
    /// The accounts that the access token covers, as far as the API named them.
    pub accounts: Vec<String>,
}

impl Client {
    /// How long before its end an access token is refreshed.
    pub fn refresh_before(&self) -> Duration {
        self.definition().oauth().map_or(Duration::ZERO, |oauth| oauth.refresh_before)
    }

    /// The URL at which a person grants access to the app.
    ///
    /// # Errors
    /// A permanent [`Failure`] if the definition has none, or it wants a redirect URI.
    pub fn authorize_url(
        &self,
        app_id: &str,
        redirect_uri: Option<&str>,
        state: &str,
    ) -> Result<Url, Failure> {
        let source = self.definition().name();
        let authorize = self.oauth()?.authorize_url.as_ref().ok_or_else(|| {
            let what = format!("source {source} has no authorize_url in its [auth]: open the page of the API's docs, then give its --code");
            Failure::permanent(what)
        })?;
        if redirect_uri.is_none() && authorize.names(&["redirect_uri"]) {
            let what = "add --redirect-uri URL: one that is registered with the app; the code arrives there";
            return Err(Failure::permanent(what));
        }
        let values = Values::default()
            .with("app_id", app_id)
            .with("redirect_uri", redirect_uri.unwrap_or_default())
            .with("state", state);
        let text = authorize.text(&values, escape)?;
        text.parse().map_err(|_| Failure::permanent(format!("source {source}: authorize_url makes no URL")))
    }

    /// Turns the code, with which a person's grant ends, into tokens.
    ///
    /// # Errors
    /// A [`Failure`] of the class that the definition's rules give it.
    pub async fn exchange_code(
        &self,
        app: &OAuthApp,
        code: &str,
        redirect_uri: Option<&str>,
    ) -> Result<Granted, Failure> {
        let plan = self.oauth()?.exchange.as_ref().ok_or_else(|| {
            let source = self.definition().name();
            Failure::permanent(format!("source {source} has no [auth.exchange]: its codes cannot be used"))
        })?;
        if redirect_uri.is_none() && plan.names(&["redirect_uri"]) {
            let what = "add --redirect-uri URL: the same as when the code was asked for";
            return Err(Failure::permanent(what));
        }
        let values = Values::default().with("redirect_uri", redirect_uri.unwrap_or_default());
        self.grant(plan, app, values, ("code", code)).await
    }

    /// Turns a refresh token into new tokens; it may be dead from then on.
    ///
    /// # Errors
    /// As [`Client::exchange_code`].
    pub async fn refresh(&self, app: &OAuthApp, refresh_token: &SecretString) -> Result<Granted, Failure> {
        let proof = ("refresh_token", refresh_token.expose_secret());
        self.grant(&self.oauth()?.refresh, app, Values::default(), proof).await
    }

    async fn grant(
        &self,
        plan: &RequestPlan,
        app: &OAuthApp,
        values: Values<'_>,
        (name, proof): (&'static str, &str),
    ) -> Result<Granted, Failure> {
        let stamps = Stamps::now();
        let values = values
            .with("app_id", &*app.id)
            .with("secret", app.secret.expose_secret())
            .with(name, proof)
            .with("timestamp", &*stamps.timestamp)
            .with("timestamp_ms", &*stamps.timestamp_ms)
            .with("nonce", &*stamps.nonce);
        let granted = async {
            let request = plan.render(self.definition().url(), &values, Vec::new())?;
            let (head, body) = self.exchange(request, None).await?;
            read(self.definition(), &self.oauth()?.response, &head, &body)
                .map_err(|failure| Failure { retry_after: head.retry_after, ..failure })
        };
        granted.await.map_err(|failure| {
            let secrets = [app.secret.expose_secret(), proof].into_iter().filter(|secret| !secret.is_empty());
            let message = secrets.fold(failure.message, |message, secret| message.replace(secret, "***"));
            Failure { message, ..failure }
        })
    }

    fn oauth(&self) -> Result<&OAuth, Failure> {
        self.definition().oauth().ok_or_else(|| {
            let source = self.definition().name();
            Failure::permanent(format!(
                "source {source} grants no tokens: its [auth] is not of kind \"oauth2\""
            ))
        })
    }
}

fn read(
    definition: &Definition,
    paths: &TokenPaths,
    head: &ResponseHead,
    body: &Bytes,
) -> Result<Granted, Failure> {
    let good = (200..300).contains(&head.status);
    let json: Option<Json> = serde_json::from_slice(body).ok();
    let text = |paths: &[String]| {
        let value = json.as_ref().and_then(|json| first(json, paths)).and_then(scalar_text);
        value.filter(|text| !text.is_empty())
    };
    let Some(access_token) = text(&paths.access_token).filter(|_| good) else {
        if good && json.is_none() {
            // It may hold a token in a form that nobody foresaw: not a word of it is repeated.
            return Err(Failure::transient(format!("HTTP {}, but no JSON", head.status)));
        }
        response::envelope(definition, &definition.response, head, body)?;
        let path = paths.access_token.join(" or ");
        return Err(Failure::permanent(format!("response without an access token ({path})")));
    };
    let span = |paths: &[String]| {
        let seconds = text(paths)?.parse::<f64>().ok().filter(|seconds| *seconds >= 1.0)?;
        Some(Duration::from_secs((seconds as u64).min(LONGEST)))
    };
    let items = json.as_ref().and_then(|json| first(json, &paths.accounts)).and_then(Json::as_array);
    let account = |item: &Json| match &paths.account {
        Some(path) => first(item, std::slice::from_ref(path)).and_then(scalar_text),
        None => scalar_text(item),
    };
    Ok(Granted {
        access_token: access_token.into(),
        access_expires_in: span(&paths.access_expires_in),
        refresh_token: text(&paths.refresh_token).map(Into::into),
        refresh_expires_in: span(&paths.refresh_expires_in),
        accounts: items.into_iter().flatten().filter_map(account).collect(),
    })
}

/// The first path at which there is something.
fn first<'v>(json: &'v Json, paths: &[String]) -> Option<&'v Json> {
    let step = |json: &'v Json, key: &str| match json {
        Json::Array(items) => items.get(key.parse::<usize>().ok()?),
        json => json.get(key),
    };
    let at = |path: &String| match path.as_str() {
        "$" => Some(json),
        path => path.split('.').try_fold(json, step),
    };
    paths.iter().filter_map(at).find(|value| !value.is_null())
}
