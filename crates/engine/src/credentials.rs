//! The credentials of a source: the credential that covers an account, and the token of a request.
//!
//! ```text
//! accounts        which credential covers which account                credentials/accounts.rs
//! token           the token of one request                             credentials/token.rs
//! rotating        tokens refreshed once for all replicas               credentials/rotating.rs
//! token_state     the access token as this process knows it            credentials/token_state.rs
//! authorization   a person authorizes the app                          credentials/authorization.rs
//! ```

mod accounts;
mod authorization;
mod error;
mod oauth;
mod rotating;
mod token;
mod token_state;

use std::sync::Arc;

use pagemill_core::Failure;
use pagemill_source::{Client, Credential, Definition};
use pagemill_store::{Store, StoreError, TokenKey, TokenPlace};
use tokio::sync::Mutex;

use self::{accounts::Coverage, rotating::RotatingToken};
pub use self::{
    authorization::{Authorization, Authorized},
    error::{CredentialError, CredentialName, TokenError},
    token::Token,
};
use crate::config::{Accounts, ConfigError, CredentialConfig};

/// The account of a source that knows no accounts.
pub const SOLE_ACCOUNT: &str = "all";

/// All credentials of a source.
pub struct Credentials {
    source: String,
    store: Store,
    all: Vec<Entry>,
    coverage: Mutex<Coverage>,
}

/// One credential.
struct Entry {
    name: CredentialName,
    accounts: Accounts,
    kind: TokenKind,
}

/// The origin of a credential's tokens.
enum TokenKind {
    /// The API wants no token.
    None,
    /// The config names a token that is used as it is.
    Fixed(Arc<Credential>),
    /// A person authorizes an app; its tokens are refreshed.
    Rotating(Arc<RotatingToken>),
}

impl Credentials {
    /// The credentials that a config names, with their secrets read.
    pub(crate) fn new(
        definition: &Definition,
        configs: Vec<CredentialConfig>,
        client: &Client,
        store: &Store,
    ) -> Result<Self, CredentialError> {
        let source = definition.name().to_owned();
        let entry = |config: CredentialConfig| {
            let name = CredentialName { source: source.clone(), credential: config.name.clone() };
            let kind = TokenKind::new(&name, &config, definition, client, store)?;
            Ok(Entry { name, accounts: config.accounts.unwrap_or_default(), kind })
        };
        let all = configs.into_iter().map(entry).collect::<Result<_, _>>()?;
        Ok(Self { source, store: store.clone(), all, coverage: Mutex::default() })
    }

    /// The accounts that the credentials cover, in the config's order: files and queries are read
    /// now. Of two credentials that cover one account, the first is used.
    ///
    /// # Errors
    /// A file that cannot be read, a query that fails, a credential without accounts.
    pub async fn accounts(&self) -> Result<Vec<String>, CredentialError> {
        let mut coverage = self.coverage.lock().await;
        self.read_accounts(&mut coverage).await
    }

    /// The token of a request for an account: at hand, or refreshed where the last one is about to
    /// expire or was rejected.
    ///
    /// # Errors
    /// [`TokenError`]
    pub async fn token(&self, account: &str) -> Result<Token, TokenError> {
        match &self.all[self.covering(account).await?].kind {
            TokenKind::None => Ok(Token::none()),
            TokenKind::Fixed(credential) => Ok(Token::fixed(credential.clone())),
            TokenKind::Rotating(rotating) => {
                Ok(Token::rotating(rotating.clone(), rotating.access_token().await?))
            }
        }
    }

    /// Checks that the stored tokens can be decrypted with this process's key. No token is no error.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        for rotating in self.rotating() {
            rotating.check().await?;
        }
        Ok(())
    }

    /// Waits until no token is being refreshed: a pair that the API granted is stored before the
    /// process ends. Not for long.
    pub(crate) async fn finish_refreshes(&self) {
        for rotating in self.rotating() {
            rotating.finish().await;
        }
    }

    fn rotating(&self) -> impl Iterator<Item = &RotatingToken> {
        self.all.iter().filter_map(|entry| match &entry.kind {
            TokenKind::Rotating(rotating) => Some(&**rotating),
            TokenKind::None | TokenKind::Fixed(_) => None,
        })
    }

    async fn covering(&self, account: &str) -> Result<usize, TokenError> {
        if self.all.len() == 1 {
            return Ok(0);
        }
        let mut coverage = self.coverage.lock().await;
        if let Some(found) = coverage.of(account) {
            return Ok(found);
        }
        if coverage.is_stale() {
            self.read_accounts(&mut coverage).await?;
        }
        coverage.of(account).ok_or_else(|| {
            TokenError::Failed(Failure::permanent(format!(
                "no credential of source {} covers account {account}: name it in the accounts of one [[source.credential]]",
                self.source
            )))
        })
    }

    async fn read_accounts(&self, coverage: &mut Coverage) -> Result<Vec<String>, CredentialError> {
        let mut in_order = Vec::new();
        coverage.clear();
        for (nth, entry) in self.all.iter().enumerate() {
            let accounts = accounts::read(&self.store, &entry.name, &entry.accounts).await?;
            in_order.extend(accounts.into_iter().filter(|account| coverage.add(account, nth)));
        }
        Ok(in_order)
    }
}

impl TokenKind {
    fn new(
        name: &CredentialName,
        config: &CredentialConfig,
        definition: &Definition,
        client: &Client,
        store: &Store,
    ) -> Result<Self, CredentialError> {
        let wrong = |error: ConfigError| CredentialError::Config(name.clone(), error);
        let secret = config.secret.as_ref().map(|secret| secret.read()).transpose().map_err(wrong)?;
        match (&config.token, &config.app_id) {
            _ if !definition.needs_token() => Ok(Self::None),
            (Some(token), _) => {
                Ok(Self::Fixed(Arc::new(Credential { token: token.read().map_err(wrong)?, secret })))
            }
            (None, Some(_)) if definition.refreshes_tokens() => {
                let key = TokenKey::from_environment();
                let key = key.map_err(|error| CredentialError::Store(name.clone(), error))?;
                let place = TokenPlace { source: name.source.clone(), credential: name.credential.clone() };
                let app = oauth::app(config).map_err(wrong)?;
                let rotating = RotatingToken::new(store.clone(), key, place, client.clone(), app);
                Ok(Self::Rotating(Arc::new(rotating)))
            }
            (None, _) => Err(wrong(ConfigError(missing_token(definition)))),
        }
    }
}

/// The error for a config without the token that its API wants.
pub(crate) fn missing_token(definition: &Definition) -> String {
    let app = "app_id and secret = { env = \"…\" }, then run `pagemill auth`; or ";
    let app = if definition.refreshes_tokens() { app } else { "" };
    format!("its API wants a token: add {app}token = {{ env = \"…\" }} or {{ file = \"…\" }}")
}
