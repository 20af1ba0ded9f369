//! Shared by authorizing and refreshing: the app, the tokens granted, and how a credential is named.

use std::time::Instant;

use pagemill_source::{Granted, OAuthApp};
use pagemill_store::{NewTokens, TokenPlace};

use crate::config::{ConfigError, CredentialConfig, DEFAULT_CREDENTIAL};

/// The app of a credential.
pub(super) fn app(config: &CredentialConfig) -> Result<OAuthApp, ConfigError> {
    let missing = |key: &str| ConfigError(format!("credential {}: {key} is missing", config.name));
    Ok(OAuthApp {
        id: config.app_id.clone().ok_or_else(|| missing("app_id"))?,
        secret: config.secret.as_ref().ok_or_else(|| missing("secret"))?.read()?,
    })
}

/// The tokens of an API's response, ready to be stored.
pub(super) fn new_tokens(granted: Granted, requested_at: Instant) -> NewTokens {
    let Granted { access_token, access_expires_in, refresh_token, refresh_expires_in, accounts } = granted;
    NewTokens { access_token, access_expires_in, refresh_token, refresh_expires_in, accounts, requested_at }
}

/// The credential, for people.
pub(super) fn describe(TokenPlace { source, credential }: &TokenPlace) -> String {
    match credential.as_str() {
        DEFAULT_CREDENTIAL => format!("source {source}"),
        credential => format!("source {source}, credential {credential}"),
    }
}

/// The command that authorizes a credential.
pub(super) fn auth_command(TokenPlace { source, credential }: &TokenPlace) -> String {
    match credential.as_str() {
        DEFAULT_CREDENTIAL => format!("`pagemill auth {source}`"),
        credential => format!("`pagemill auth {source} --credential {credential}`"),
    }
}

/// Nobody has granted access yet.
pub(super) fn never_authorized(place: &TokenPlace) -> String {
    format!("access to {} was never granted: run {}", describe(place), auth_command(place))
}
