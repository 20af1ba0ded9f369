//! Tokens that rotate: bought once for all replicas, stored before use.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pagemill_core::{Failure, FailureClass};
use pagemill_source::{App, Client, Credential};
use pagemill_store::{Claimed, Store, StoreError, StoreErrorKind, StoredTokens, TokenKey, TokenPlace};
use secrecy::SecretString;

use super::{NoToken, Token};
use crate::run::consume::identity;

/// How often the ledger is looked at while another process buys.
const POLL: Duration = Duration::from_millis(100);
/// After a failed purchase, how long none is tried again by this process: while the old token is
/// still good, and while it isn't.
const PAUSE: Duration = Duration::from_secs(30);
const SHORT_PAUSE: Duration = Duration::from_secs(2);
/// So long another process's purchase is waited for while the old token is still good.
const PATIENCE: Duration = Duration::from_secs(2);
/// After a token that was refused without having worked once, its successor is not given up younger
/// than this: likelier the account is not ours, and a newer one would be refused as well.
const YOUNG: Duration = Duration::from_secs(5);
/// How long a pair that was granted is waited for when the process ends.
const SETTLE: Duration = Duration::from_secs(5);
/// While the API takes its time, the claim is held on to so often.
const HOLD_ON: Duration = Duration::from_secs(10);
/// A pair that cannot be stored now is kept and tried again.
const STORE_AGAIN: Duration = Duration::from_secs(1);

/// One credential's tokens, as this process knows them.
pub(super) struct Rotating {
    store: Store,
    key: TokenKey,
    place: TokenPlace,
    client: Client,
    app: App,
    /// This process, when it buys.
    owner: String,
    known: Mutex<Known>,
    /// Held by the one task of this process that looks for a newer pair.
    renewing: tokio::sync::Mutex<()>,
}

/// One use of a token.
#[derive(Clone, Copy)]
pub(super) struct Use {
    version: i64,
    sent: Instant,
}

#[derive(Default)]
struct Known {
    held: Option<Held>,
    /// The version that the API refused.
    refused: Option<i64>,
    /// When the latest request was sent that the held token worked for.
    worked: Option<Instant>,
    /// The version refused last had never worked.
    in_vain: bool,
    /// The last purchase failed, and until when none is tried.
    failed: Option<(Instant, Failure)>,
}

struct Held {
    credential: Arc<Credential>,
    version: i64,
    stored: Instant,
    /// When it is to be replaced, and when it is dead.
    renew_at: Option<Instant>,
    expires_at: Option<Instant>,
}

impl Rotating {
    pub(super) fn new(store: Store, key: TokenKey, place: TokenPlace, client: Client, app: App) -> Self {
        let (known, renewing) = Default::default();
        Self { store, key, place, client, app, owner: identity(), known, renewing }
    }

    pub(super) async fn token(self: &Arc<Self>) -> Result<Token, NoToken> {
        if let Some(token) = self.newest() {
            return Ok(token);
        }
        // A task of its own: a worker that is cancelled midway must not lose what the API granted.
        let this = self.clone();
        let renewing = tokio::spawn(async move { this.renew().await });
        renewing.await.unwrap_or_else(|e| Err(NoToken::Failed(Failure::transient(format!("no token: {e}")))))
    }

    /// The token at hand, if it is good and need not be replaced yet.
    pub(super) fn newest(self: &Arc<Self>) -> Option<Token> {
        let known = self.known();
        let held = known.held.as_ref().filter(|held| known.refused != Some(held.version))?;
        let now = Instant::now();
        let early = held.renew_at.is_none_or(|at| now < at);
        let pausing = || known.failed.as_ref().is_some_and(|(until, _)| now < *until);
        let alive = held.expires_at.is_none_or(|at| now < at);
        (early || (alive && pausing())).then(|| self.used(held))
    }

    pub(super) fn worked(&self, used: Use) {
        let mut known = self.known();
        if known.is_held(used.version) {
            known.worked = known.worked.max(Some(used.sent));
        }
    }

    pub(super) fn refused(&self, used: Use) {
        let mut known = self.known();
        let Some(held) = known.held.as_ref().filter(|held| held.version == used.version) else { return };
        let expired = held.expires_at.is_some_and(|at| at <= Instant::now());
        let in_vain = known.in_vain && known.worked.is_none() && held.stored.elapsed() < YOUNG;
        // It worked for a request sent later: it is this account's fault, not the token's.
        let alive = known.worked.is_some_and(|sent| sent > used.sent);
        if alive || (in_vain && !expired) || known.refused == Some(used.version) {
            return;
        }
        known.in_vain = known.worked.is_none() && !expired;
        let TokenPlace { source, credential } = &self.place;
        tracing::info!(source, credential, "the API refused the access token: a new one is due");
        known.refused = Some(used.version);
        known.failed = None;
    }

    pub(super) async fn check(&self) -> Result<(), StoreError> {
        self.store.tokens(&self.key, &self.place).await.map(drop)
    }

    pub(super) async fn settle(&self) {
        if tokio::time::timeout(SETTLE, self.renewing.lock()).await.is_err() {
            tracing::warn!(source = self.place.source, "ending while a token is being refreshed");
        }
    }

    async fn renew(self: Arc<Self>) -> Result<Token, NoToken> {
        let _one = self.renewing.lock().await;
        let begun = Instant::now();
        loop {
            if let Some(token) = self.newest() {
                return Ok(token);
            }
            if let Some((until, failure)) = &self.known().failed
                && Instant::now() < *until
            {
                return Err(NoToken::Failed(failure.clone()));
            }
            let stored = self.store.tokens(&self.key, &self.place).await?;
            let stored = stored.ok_or_else(|| {
                NoToken::Failed(Failure::new(FailureClass::Token, never_granted(&self.place)))
            })?;
            let version = stored.version;
            self.hold(stored);
            if let Some(token) = self.newest() {
                return Ok(token);
            }
            match self.store.claim_refresh(&self.key, &self.place, version, &self.owner).await? {
                Claimed::Mine(refresh_token) => self.buy(version, &refresh_token).await?,
                Claimed::Newer => {}
                Claimed::Theirs if begun.elapsed() > PATIENCE && self.is_good() => {
                    // Its holder may be dead. Until the claim runs out the old token will do.
                    let what = Failure::transient("another process is refreshing the access token");
                    self.known().failed = Some((Instant::now() + SHORT_PAUSE, what));
                }
                Claimed::Theirs => tokio::time::sleep(POLL).await,
                Claimed::NotRefreshable => {
                    let what = format!("{} has no refresh token", in_words(&self.place));
                    self.failed(self.anew(&what));
                }
            }
        }
    }

    /// Exchanges the refresh token for a new pair and stores it. No connection is held meanwhile.
    async fn buy(&self, version: i64, refresh_token: &SecretString) -> Result<(), NoToken> {
        let requested_at = Instant::now();
        let asking = self.client.refresh(&self.app, refresh_token);
        tokio::pin!(asking);
        let answer = loop {
            tokio::select! {
                answer = &mut asking => break answer,
                () = tokio::time::sleep(HOLD_ON) => {
                    if let Err(error) = self.store.extend_refresh(&self.place, &self.owner).await {
                        tracing::warn!(%error, "the claim of a refresh may run out");
                    }
                }
            }
        };
        let granted = match answer {
            Ok(granted) => granted,
            Err(failure) => {
                if let Err(error) = self.store.release_refresh(&self.place, &self.owner).await {
                    tracing::warn!(%error, "the claim of a refresh is left to run out");
                }
                let stored = self.store.tokens(&self.key, &self.place).await?;
                if stored.is_none_or(|stored| stored.version == version) {
                    self.failed(self.explained(failure));
                }
                return Ok(());
            }
        };
        let new = super::grant::new_tokens(granted, requested_at);
        loop {
            match self.store.store_refreshed(&self.key, &self.place, version, &new).await {
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

    fn hold(&self, stored: StoredTokens) {
        let mut known = self.known();
        if !known.is_held(stored.version) {
            known.worked = None;
            known.failed = None;
        }
        let now = Instant::now();
        known.held = Some(Held {
            version: stored.version,
            stored: now.checked_sub(stored.age).unwrap_or(now),
            renew_at: stored.expires_at.map(|at| self.renew_at(at, stored.age)),
            expires_at: stored.expires_at,
            credential: Arc::new(Credential {
                token: stored.access_token,
                secret: Some(self.app.secret.clone()),
            }),
        });
    }

    /// When a token that expires at `at` is to be replaced: early, but not in the first half of its life.
    fn renew_at(&self, at: Instant, age: Duration) -> Instant {
        let now = Instant::now();
        let life = at.saturating_duration_since(now) + age;
        at.checked_sub(self.client.refresh_before().min(life / 2)).unwrap_or(now)
    }

    /// A purchase failed: the old token is used as long as it is good.
    fn failed(&self, failure: Failure) {
        let good = self.is_good();
        let TokenPlace { source, credential } = &self.place;
        tracing::warn!(source, credential, good, error = %failure.message, "the access token was not refreshed");
        self.known().failed = Some((Instant::now() + if good { PAUSE } else { SHORT_PAUSE }, failure));
    }

    /// Whether the token at hand is neither refused nor expired.
    fn is_good(&self) -> bool {
        let known = self.known();
        known.held.as_ref().is_some_and(|held| {
            known.refused != Some(held.version) && held.expires_at.is_none_or(|at| Instant::now() < at)
        })
    }

    /// Why there is no new pair, and what to do.
    fn explained(&self, failure: Failure) -> Failure {
        match failure.class {
            FailureClass::Transient | FailureClass::Throttled => {
                let message = format!("{}: no new token: {}", in_words(&self.place), failure.message);
                Failure { message, ..failure }
            }
            FailureClass::Token | FailureClass::Permanent => self.anew(&format!(
                "the refresh token of {} was refused ({}). It has expired or was used before: by another program, \
                 or by a process that died before it could store the new one",
                in_words(&self.place),
                failure.message
            )),
        }
    }

    /// Access must be granted anew.
    fn anew(&self, what: &str) -> Failure {
        Failure::new(FailureClass::Token, format!("{what}; run {}", command(&self.place)))
    }

    fn used(self: &Arc<Self>, held: &Held) -> Token {
        let used = Use { version: held.version, sent: Instant::now() };
        Token { credential: Some(held.credential.clone()), rotating: Some((self.clone(), used)) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_held(&self, version: i64) -> bool {
        self.held.as_ref().is_some_and(|held| held.version == version)
    }
}

/// Nobody has granted access yet.
pub(super) fn never_granted(place: &TokenPlace) -> String {
    format!("access to {} was never granted: run {}", in_words(place), command(place))
}

fn in_words(TokenPlace { source, credential }: &TokenPlace) -> String {
    match credential.as_str() {
        crate::config::DEFAULT_CREDENTIAL => format!("source {source}"),
        credential => format!("source {source}, credential {credential}"),
    }
}

fn command(TokenPlace { source, credential }: &TokenPlace) -> String {
    match credential.as_str() {
        crate::config::DEFAULT_CREDENTIAL => format!("`pagemill auth {source}`"),
        credential => format!("`pagemill auth {source} --credential {credential}`"),
    }
}
