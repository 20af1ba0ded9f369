//! The state of one credential's access token in this process, without I/O.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pagemill_core::Failure;
use pagemill_source::Credential;

/// A token that never worked and was rejected is not given up younger than this, if its predecessor went the
/// same way: likelier the account is not ours, and a newer token would be rejected as well.
const YOUNG: Duration = Duration::from_secs(5);

/// The access token at hand, and what its requests have shown.
#[derive(Default)]
pub(super) struct TokenState {
    current: Option<AccessToken>,
    /// The version that the API rejected.
    rejected: Option<i64>,
    /// When the latest request was sent that the current token worked for.
    worked: Option<Instant>,
    /// The version rejected last had never worked.
    rejected_unused: bool,
    /// The last refresh failed, and until when none is tried.
    failed: Option<(Instant, Failure)>,
}

/// An access token as it is stored.
pub(super) struct AccessToken {
    pub(super) credential: Arc<Credential>,
    pub(super) version: i64,
    pub(super) stored_at: Instant,
    pub(super) refresh_at: Option<Instant>,
    pub(super) expires_at: Option<Instant>,
}

/// One use of a token.
#[derive(Clone, Copy)]
pub(super) struct TokenUse {
    version: i64,
    sent_at: Instant,
}

impl AccessToken {
    fn is_alive(&self, now: Instant) -> bool {
        self.expires_at.is_none_or(|at| now < at)
    }
}

impl TokenState {
    /// The current token and this use of it, if it is valid and need not be refreshed yet.
    pub(super) fn take(&self, now: Instant) -> Option<(Arc<Credential>, TokenUse)> {
        let token = self.current.as_ref().filter(|token| self.rejected != Some(token.version))?;
        let early = token.refresh_at.is_none_or(|at| now < at);
        let usable = early || (token.is_alive(now) && self.pause(now).is_some());
        usable.then(|| (token.credential.clone(), TokenUse { version: token.version, sent_at: now }))
    }

    /// True if the current token is neither rejected nor expired.
    pub(super) fn is_valid(&self, now: Instant) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|token| self.rejected != Some(token.version) && token.is_alive(now))
    }

    /// Why the last refresh failed, while none is tried.
    pub(super) fn pause(&self, now: Instant) -> Option<&Failure> {
        self.failed.as_ref().filter(|(until, _)| now < *until).map(|(_, failure)| failure)
    }

    /// Tries no refresh for a while.
    pub(super) fn set_pause(&mut self, until: Instant, failure: Failure) {
        self.failed = Some((until, failure));
    }

    /// Takes the token that is stored.
    pub(super) fn set_current(&mut self, token: AccessToken) {
        if !self.is_current(token.version) {
            self.worked = None;
            self.failed = None;
        }
        self.current = Some(token);
    }

    /// Records that the API accepted the token.
    pub(super) fn accepted(&mut self, used: TokenUse) {
        if self.is_current(used.version) {
            self.worked = self.worked.max(Some(used.sent_at));
        }
    }

    /// Records that the API rejected the token. Returns true if a new one is due.
    pub(super) fn rejected(&mut self, used: TokenUse, now: Instant) -> bool {
        let Some(token) = self.current.as_ref().filter(|token| token.version == used.version) else {
            return false;
        };
        let expired = !token.is_alive(now);
        let young = now.saturating_duration_since(token.stored_at) < YOUNG;
        let in_vain = self.rejected_unused && self.worked.is_none() && young;
        // The token worked for a later request: the account is to blame, not the token.
        let alive = self.worked.is_some_and(|sent_at| sent_at > used.sent_at);
        if alive || (in_vain && !expired) || self.rejected == Some(used.version) {
            return false;
        }
        self.rejected_unused = self.worked.is_none() && !expired;
        self.rejected = Some(used.version);
        self.failed = None;
        true
    }

    fn is_current(&self, version: i64) -> bool {
        self.current.as_ref().is_some_and(|token| token.version == version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A token stored at `stored_at`, to be refreshed after a minute, expired after two.
    fn token(version: i64, stored_at: Instant) -> AccessToken {
        AccessToken {
            credential: Arc::new(Credential { token: "t".into(), secret: None }),
            version,
            stored_at,
            refresh_at: Some(stored_at + 60 * SECOND),
            expires_at: Some(stored_at + 120 * SECOND),
        }
    }

    fn state(version: i64, stored_at: Instant) -> TokenState {
        let mut state = TokenState::default();
        state.set_current(token(version, stored_at));
        state
    }

    #[test]
    fn a_token_is_used_until_its_refresh_and_beyond_only_while_that_fails() {
        let start = Instant::now();
        let mut state = state(1, start);
        assert!(state.take(start + 59 * SECOND).is_some());
        assert!(state.take(start + 60 * SECOND).is_none() && state.is_valid(start + 60 * SECOND));
        state.set_pause(start + 200 * SECOND, Failure::transient("away"));
        assert!(state.take(start + 119 * SECOND).is_some());
        assert!(state.take(start + 120 * SECOND).is_none() && !state.is_valid(start + 120 * SECOND));
    }

    #[test]
    fn a_token_that_worked_for_a_later_request_is_not_given_up() {
        let start = Instant::now();
        let mut state = state(1, start);
        let (_, earlier) = state.take(start).unwrap();
        let (_, later) = state.take(start + SECOND).unwrap();
        state.accepted(later);
        assert!(!state.rejected(earlier, start + SECOND) && state.is_valid(start + SECOND));
        let (_, latest) = state.take(start + 2 * SECOND).unwrap();
        assert!(state.rejected(latest, start + 2 * SECOND) && !state.is_valid(start + 2 * SECOND));
        assert!(!state.rejected(latest, start + 3 * SECOND), "one new token, however many requests");
    }

    #[test]
    fn of_two_tokens_rejected_unused_the_second_is_kept_while_it_is_young() {
        let start = Instant::now();
        let mut state = state(1, start);
        let (_, first) = state.take(start).unwrap();
        assert!(state.rejected(first, start));
        state.set_current(token(2, start + SECOND));
        let (_, second) = state.take(start + 2 * SECOND).unwrap();
        assert!(!state.rejected(second, start + 2 * SECOND));
        assert!(state.rejected(second, start + SECOND + YOUNG));
    }
}
