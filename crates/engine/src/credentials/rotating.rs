//! Tokens that rotate: refreshed once for all replicas, stored before use.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pagemill_core::{Failure, FailureClass};
use pagemill_source::{Client, Credential, Granted, OAuthApp};
use pagemill_store::{
    Claimed, NewTokens, Store, StoreError, StoreErrorKind, StoredTokens, TokenKey, TokenPlace,
};
use secrecy::SecretString;

use super::{
    TokenError,
    oauth::{self, auth_command, describe, never_authorized},
    token_state::{AccessToken, TokenState, TokenUse},
};
use crate::identity::identity;

/// How often the ledger is read while another process refreshes.
const POLL: Duration = Duration::from_millis(100);
/// After a failed refresh this process tries none for so long, while the old token is still valid.
const PAUSE: Duration = Duration::from_secs(30);
/// The pause after a failed refresh once the old token is no longer valid.
const SHORT_PAUSE: Duration = Duration::from_secs(2);
/// Another process's refresh is waited for so long while the old token is still valid.
const PATIENCE: Duration = Duration::from_secs(2);
/// A pair that was granted is waited for so long when the process ends.
const FINISH: Duration = Duration::from_secs(5);
/// While the API takes its time, the claim is extended so often.
const EXTEND_CLAIM: Duration = Duration::from_secs(10);
/// A pair that cannot be stored now is kept and tried again.
const STORE_AGAIN: Duration = Duration::from_secs(1);

/// The access and refresh token of one credential.
pub(super) struct RotatingToken {
    store: Store,
    key: TokenKey,
    place: TokenPlace,
    client: Client,
    app: OAuthApp,
    /// This process, when it refreshes.
    owner: String,
    state: Mutex<TokenState>,
    /// Held by the one task of this process that looks for a newer pair.
    refreshing: tokio::sync::Mutex<()>,
}

/// An access token, and this use of it.
pub(super) type UsedToken = (Arc<Credential>, TokenUse);

impl RotatingToken {
    pub(super) fn new(store: Store, key: TokenKey, place: TokenPlace, client: Client, app: OAuthApp) -> Self {
        let (state, refreshing) = Default::default();
        Self { store, key, place, client, app, owner: identity(), state, refreshing }
    }

    /// A valid access token: at hand, stored by another process, or refreshed now.
    pub(super) async fn access_token(self: &Arc<Self>) -> Result<UsedToken, TokenError> {
        if let Some(token) = self.current() {
            return Ok(token);
        }
        // A task of its own: a worker that is cancelled midway must not lose what the API granted.
        let this = self.clone();
        let newer = tokio::spawn(async move { this.newer().await });
        newer.await.unwrap_or_else(|e| Err(TokenError::Failed(Failure::transient(format!("no token: {e}")))))
    }

    /// The token at hand, if it is valid and need not be refreshed yet.
    pub(super) fn current(&self) -> Option<UsedToken> {
        self.state().take(Instant::now())
    }

    pub(super) fn accepted(&self, used: TokenUse) {
        self.state().accepted(used);
    }

    pub(super) fn rejected(&self, used: TokenUse) {
        if self.state().rejected(used, Instant::now()) {
            let TokenPlace { source, credential } = &self.place;
            tracing::info!(source, credential, "the API refused the access token: a new one is due");
        }
    }

    /// Checks that the stored tokens can be decrypted.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        self.store.tokens.get(&self.key, &self.place).await.map(drop)
    }

    /// Waits until no refresh is under way, though not for long.
    pub(super) async fn finish(&self) {
        if tokio::time::timeout(FINISH, self.refreshing.lock()).await.is_err() {
            tracing::warn!(
                source = self.place.source,
                credential = self.place.credential,
                "ending while a token is being refreshed"
            );
        }
    }

    /// A token newer than the one at hand, whichever process refreshes it.
    async fn newer(self: Arc<Self>) -> Result<UsedToken, TokenError> {
        let _one = self.refreshing.lock().await;
        let begun = Instant::now();
        loop {
            if let Some(token) = self.current() {
                return Ok(token);
            }
            if let Some(failure) = self.state().pause(Instant::now()) {
                return Err(TokenError::Failed(failure.clone()));
            }
            let stored = self.store.tokens.get(&self.key, &self.place).await?;
            let stored = stored.ok_or_else(|| {
                TokenError::Failed(Failure::new(FailureClass::Token, never_authorized(&self.place)))
            })?;
            let version = stored.version;
            self.set_current(stored);
            if let Some(token) = self.current() {
                return Ok(token);
            }
            match self.store.tokens.claim(&self.key, &self.place, version, &self.owner).await? {
                Claimed::Mine(refresh_token) => self.refresh(version, &refresh_token).await?,
                Claimed::Newer => {}
                Claimed::Theirs if begun.elapsed() > PATIENCE && self.is_valid() => {
                    // The claim's holder may be dead. Until the claim runs out the old token will do.
                    let what = Failure::transient("another process is refreshing the access token");
                    self.state().set_pause(Instant::now() + SHORT_PAUSE, what);
                }
                Claimed::Theirs => tokio::time::sleep(POLL).await,
                Claimed::NotRefreshable => {
                    let what = format!("{} has no refresh token", describe(&self.place));
                    self.refresh_failed(self.needs_authorization(&what));
                }
            }
        }
    }

    /// Exchanges the refresh token for a new pair and stores it.
    async fn refresh(&self, version: i64, refresh_token: &SecretString) -> Result<(), TokenError> {
        let requested_at = Instant::now();
        match self.request_refresh(refresh_token).await {
            Ok(granted) => self.store_pair(version, &oauth::new_tokens(granted, requested_at)).await,
            Err(failure) => {
                if let Err(error) = self.store.tokens.release_claim(&self.place, &self.owner).await {
                    tracing::warn!(%error, "the claim of a refresh is left to run out");
                }
                let stored = self.store.tokens.get(&self.key, &self.place).await?;
                if stored.is_none_or(|stored| stored.version == version) {
                    self.refresh_failed(self.explain(failure));
                }
                Ok(())
            }
        }
    }

    /// Requests a new pair and holds the claim meanwhile. No connection is held.
    async fn request_refresh(&self, refresh_token: &SecretString) -> Result<Granted, Failure> {
        let request = self.client.refresh(&self.app, refresh_token);
        tokio::pin!(request);
        loop {
            tokio::select! {
                response = &mut request => return response,
                () = tokio::time::sleep(EXTEND_CLAIM) => {
                    if let Err(error) = self.store.tokens.extend_claim(&self.place, &self.owner).await {
                        tracing::warn!(%error, "the claim of a refresh may run out");
                    }
                }
            }
        }
    }

    /// Stores a new pair, however long PostgreSQL is away: the API grants it once.
    async fn store_pair(&self, version: i64, new: &NewTokens) -> Result<(), TokenError> {
        loop {
            match self.store.tokens.put_refreshed(&self.key, &self.place, version, new).await {
                Ok(stored) => {
                    let TokenPlace { source, credential } = &self.place;
                    tracing::info!(source, credential, stored, "refreshed the access token");
                    return Ok(());
                }
                Err(error)
                    if matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::Retriable) =>
                {
                    tracing::warn!(%error, "new tokens wait to be stored");
                    tokio::time::sleep(STORE_AGAIN).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn set_current(&self, stored: StoredTokens) {
        let now = Instant::now();
        let token = AccessToken {
            version: stored.version,
            stored_at: now.checked_sub(stored.age).unwrap_or(now),
            refresh_at: stored.expires_at.map(|at| self.refresh_at(at, stored.age)),
            expires_at: stored.expires_at,
            credential: Arc::new(Credential {
                token: stored.access_token,
                secret: Some(self.app.secret.clone()),
            }),
        };
        self.state().set_current(token);
    }

    /// When a token that expires at `at` is refreshed: early, but not in the first half of its life.
    fn refresh_at(&self, at: Instant, age: Duration) -> Instant {
        let now = Instant::now();
        let life = at.saturating_duration_since(now) + age;
        at.checked_sub(self.client.refresh_before().min(life / 2)).unwrap_or(now)
    }

    /// A refresh failed: the old token is used as long as it is valid.
    fn refresh_failed(&self, failure: Failure) {
        let valid = self.is_valid();
        let TokenPlace { source, credential } = &self.place;
        tracing::warn!(source, credential, valid, error = %failure.message, "the access token was not refreshed");
        self.state().set_pause(Instant::now() + if valid { PAUSE } else { SHORT_PAUSE }, failure);
    }

    fn is_valid(&self) -> bool {
        self.state().is_valid(Instant::now())
    }

    /// Why there is no new pair, and what to do.
    fn explain(&self, failure: Failure) -> Failure {
        match failure.class {
            FailureClass::Transient | FailureClass::Throttled => {
                let message = format!("{}: no new token: {}", describe(&self.place), failure.message);
                Failure { message, ..failure }
            }
            FailureClass::Token | FailureClass::Permanent => self.needs_authorization(&format!(
                "the refresh token of {} was refused ({}). It has expired or was used before: by another program, \
                 or by a process that died before it could store the new one",
                describe(&self.place),
                failure.message
            )),
        }
    }

    /// Only a person can grant access again.
    fn needs_authorization(&self, what: &str) -> Failure {
        Failure::new(FailureClass::Token, format!("{what}; run {}", auth_command(&self.place)))
    }

    fn state(&self) -> MutexGuard<'_, TokenState> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
