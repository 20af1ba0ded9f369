//! A person grants access: from the URL to open, by the code that comes back, to stored tokens.

use std::time::Instant;

use pagemill_core::FailureClass;
use pagemill_source::{App, Client};
use pagemill_store::{NewTokens, Store, TokenKey, TokenPlace};

use crate::{
    config::{ConfigError, CredentialConfig},
    error::{Unavailable, Usage},
    sources::SourceError,
};

/// What it takes to have access granted to a credential.
pub struct Grant {
    client: Client,
    app: App,
    place: TokenPlace,
}

/// What was granted, without the tokens.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Granted {
    /// The credential.
    pub credential: String,
    /// How long the access token lives.
    pub access_expires_in: Option<u64>,
    /// How long the refresh token lives.
    pub refresh_expires_in: Option<u64>,
    /// Whether there is one.
    pub refreshable: bool,
    /// The accounts that the API named.
    pub accounts: Vec<String>,
}

impl Grant {
    /// For a credential with an app.
    ///
    /// # Errors
    /// A missing app, a secret that cannot be read.
    pub(crate) fn new(client: Client, source: &str, config: &CredentialConfig) -> anyhow::Result<Self> {
        let place = TokenPlace { source: source.to_owned(), credential: config.name.clone() };
        if config.app_id.is_none() {
            let what =
                format!("credential {} has no app: add app_id and secret = {{ env = \"…\" }}", config.name);
            return Err(SourceError::new(source, what).into());
        }
        Ok(Self { client, app: app(config)?, place })
    }

    /// The URL at which a person grants access.
    ///
    /// # Errors
    /// What the definition or the command lacks.
    pub fn url(&self, redirect_uri: Option<&str>, state: &str) -> Result<String, Usage> {
        let url = self.client.authorize_url(&self.app.id, redirect_uri, state);
        url.map(String::from).map_err(|failure| Usage(failure.message))
    }

    /// Turns the code into tokens and stores them, over whatever was there.
    ///
    /// # Errors
    /// A code that the API refuses, an API or database that is away.
    pub async fn exchange(
        &self,
        store: &Store,
        key: &TokenKey,
        code: &str,
        redirect_uri: Option<&str>,
    ) -> anyhow::Result<Granted> {
        let requested_at = Instant::now();
        let granted = self.client.exchange_code(&self.app, code, redirect_uri).await;
        let granted = granted.map_err(|failure| match failure.class {
            FailureClass::Transient | FailureClass::Throttled => {
                anyhow::Error::from(Unavailable(failure.message))
            }
            FailureClass::Token | FailureClass::Permanent => anyhow::anyhow!(
                "the code was not accepted ({}): it is good once and for some minutes; open the URL again for another",
                failure.message
            ),
        })?;
        let new = new_tokens(granted, requested_at);
        store.tokens.put_granted(key, &self.place, &new).await?;
        Ok(Granted {
            credential: self.place.credential.clone(),
            access_expires_in: new.access_expires_in.map(|span| span.as_secs()),
            refresh_expires_in: new.refresh_expires_in.map(|span| span.as_secs()),
            refreshable: new.refresh_token.is_some(),
            accounts: new.accounts,
        })
    }
}

/// A credential's app.
pub(super) fn app(config: &CredentialConfig) -> Result<App, ConfigError> {
    let lacks = |key: &str| ConfigError(format!("credential {}: {key} is missing", config.name));
    Ok(App {
        id: config.app_id.clone().ok_or_else(|| lacks("app_id"))?,
        secret: config.secret.as_ref().ok_or_else(|| lacks("secret"))?.read()?,
    })
}

pub(super) fn new_tokens(granted: pagemill_source::Granted, requested_at: Instant) -> NewTokens {
    let pagemill_source::Granted {
        access_token,
        access_expires_in,
        refresh_token,
        refresh_expires_in,
        accounts,
    } = granted;
    NewTokens { access_token, access_expires_in, refresh_token, refresh_expires_in, accounts, requested_at }
}
