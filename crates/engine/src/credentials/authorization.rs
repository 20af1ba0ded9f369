//! A person authorizes the app: from the URL to open, by the code that comes back, to stored tokens.

use std::time::{Duration, Instant};

use pagemill_core::FailureClass;
use pagemill_source::{Client, OAuthApp};
use pagemill_store::{Store, TokenKey, TokenPlace};

use super::oauth;
use crate::{
    config::CredentialConfig,
    error::{SourceError, UnavailableError, UsageError},
};

/// The authorization code flow of one credential.
pub struct Authorization {
    client: Client,
    app: OAuthApp,
    place: TokenPlace,
}

/// The result of an authorization, without the tokens.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Authorized {
    /// The credential.
    pub credential: String,
    /// Seconds that the access token lives.
    pub access_expires_in: Option<u64>,
    /// Seconds that the refresh token lives.
    pub refresh_expires_in: Option<u64>,
    /// True if there is a refresh token.
    pub refreshable: bool,
    /// The accounts that the API named.
    pub accounts: Vec<String>,
}

impl Authorization {
    /// Begins the flow of a credential with an app.
    ///
    /// # Errors
    /// A missing app, a secret that cannot be read.
    pub(crate) fn new(client: Client, source: &str, config: &CredentialConfig) -> anyhow::Result<Self> {
        if config.app_id.is_none() {
            let what =
                format!("credential {} has no app: add app_id and secret = {{ env = \"…\" }}", config.name);
            return Err(SourceError::new(source, what).into());
        }
        let place = TokenPlace { source: source.to_owned(), credential: config.name.clone() };
        Ok(Self { client, app: oauth::app(config)?, place })
    }

    /// The URL at which a person grants access.
    ///
    /// # Errors
    /// [`UsageError`] for a key or flag that is missing.
    pub fn url(&self, redirect_uri: Option<&str>, state: &str) -> Result<String, UsageError> {
        let url = self.client.authorize_url(&self.app.id, redirect_uri, state);
        url.map(String::from).map_err(|failure| UsageError(failure.message))
    }

    /// Exchanges the code for tokens and stores them, over whatever was there.
    ///
    /// # Errors
    /// A code that the API refuses, an API or database that is away.
    pub async fn exchange_code(
        &self,
        store: &Store,
        key: &TokenKey,
        code: &str,
        redirect_uri: Option<&str>,
    ) -> anyhow::Result<Authorized> {
        let requested_at = Instant::now();
        let granted = self.client.exchange_code(&self.app, code, redirect_uri).await;
        let granted = granted.map_err(|failure| match failure.class {
            FailureClass::Transient | FailureClass::Throttled => {
                anyhow::Error::from(UnavailableError(failure.message))
            }
            FailureClass::Token | FailureClass::Permanent => anyhow::anyhow!(
                "the code was not accepted ({}): it is valid once and for some minutes; open the URL again for another",
                failure.message
            ),
        })?;
        let new = oauth::new_tokens(granted, requested_at);
        store.tokens.put_granted(key, &self.place, &new).await?;
        let seconds = |lifetime: Option<Duration>| lifetime.map(|lifetime| lifetime.as_secs());
        Ok(Authorized {
            credential: self.place.credential.clone(),
            access_expires_in: seconds(new.access_expires_in),
            refresh_expires_in: seconds(new.refresh_expires_in),
            refreshable: new.refresh_token.is_some(),
            accounts: new.accounts,
        })
    }
}
