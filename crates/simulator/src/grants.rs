use std::time::Duration;

use crate::{oauth::OAuth, random::mix};

/// Both tokens of a grant, and until when they live. Times are since the simulator's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenPair {
    pub(crate) access: String,
    access_until: Duration,
    pub(crate) refresh: String,
    refresh_until: Duration,
}

/// Why no tokens were issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// The app's id or secret.
    App,
    /// The code is unknown or was used.
    Code,
    /// The refresh token is unknown, was used, or has expired.
    Refresh,
}

/// All grants: of each, the newest pair only, so that an old token is dead at once.
pub(crate) struct Grants {
    seed: u64,
    oauth: OAuth,
    issued: u64,
    pairs: Vec<TokenPair>,
}

impl Grants {
    pub(crate) fn new(seed: u64, oauth: OAuth) -> Self {
        Self { seed, oauth, issued: 0, pairs: Vec::new() }
    }

    /// Tokens for a code, which is used up.
    pub(crate) fn exchange(
        &mut self,
        app: (&str, &str),
        code: &str,
        now: Duration,
    ) -> Result<&TokenPair, Denial> {
        self.check(app)?;
        let place = self.oauth.codes.iter().position(|known| known == code).ok_or(Denial::Code)?;
        self.oauth.codes.swap_remove(place);
        let pair = self.issue(now);
        self.pairs.push(pair);
        Ok(&self.pairs[self.pairs.len() - 1])
    }

    /// New tokens for a refresh token; both old ones are dead from now on.
    pub(crate) fn refresh(
        &mut self,
        app: (&str, &str),
        token: &str,
        now: Duration,
    ) -> Result<&TokenPair, Denial> {
        self.check(app)?;
        let lives = |pair: &TokenPair| pair.refresh == token && now < pair.refresh_until;
        let place = self.pairs.iter().position(lives).ok_or(Denial::Refresh)?;
        self.pairs[place] = self.issue(now);
        Ok(&self.pairs[place])
    }

    /// True if it is the access token of a grant and has not expired.
    pub(crate) fn accepts(&self, access: &str, now: Duration) -> bool {
        self.pairs.iter().any(|pair| pair.access == access && now < pair.access_until)
    }

    /// The access token dies before its time; false if it was dead already.
    pub(crate) fn expire(&mut self, access: &str) -> bool {
        let mut living =
            self.pairs.iter_mut().filter(|pair| pair.access == access && !pair.access_until.is_zero());
        living.next().map(|pair| pair.access_until = Duration::ZERO).is_some()
    }

    fn check(&self, app: (&str, &str)) -> Result<(), Denial> {
        if app == (&self.oauth.app_id, &self.oauth.secret) { Ok(()) } else { Err(Denial::App) }
    }

    fn issue(&mut self, now: Duration) -> TokenPair {
        self.issued += 1;
        let token = |kind: &str, salt: u64| {
            let bits = mix(mix(self.seed ^ salt) ^ mix(self.issued));
            format!("{kind}-{:016x}{:016x}", bits, mix(bits))
        };
        TokenPair {
            access: token("access", 1),
            access_until: now + self.oauth.access_for,
            refresh: token("refresh", 2),
            refresh_until: now + self.oauth.refresh_for,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: (&str, &str) = ("1", "secret");
    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn both_tokens_rotate_and_the_old_ones_die_at_once() {
        let mut grants = Grants::new(1, OAuth::default());
        let first = grants.exchange(APP, "code", NOW).unwrap().clone();
        assert!(grants.accepts(&first.access, NOW) && !grants.accepts("", NOW));
        let second = grants.refresh(APP, &first.refresh, NOW).unwrap().clone();
        assert!(first.access != second.access && first.refresh != second.refresh);
        assert!(!grants.accepts(&first.access, NOW) && grants.accepts(&second.access, NOW));
        assert_eq!(grants.refresh(APP, &first.refresh, NOW), Err(Denial::Refresh));
        assert!(grants.accepts(&second.access, NOW));
    }

    #[test]
    fn codes_are_valid_once_and_grants_live_side_by_side() {
        let oauth = OAuth { codes: vec!["one".into(), "two".into()], ..OAuth::default() };
        let mut grants = Grants::new(1, oauth);
        let one = grants.exchange(APP, "one", NOW).unwrap().clone();
        let two = grants.exchange(APP, "two", NOW).unwrap().clone();
        assert_eq!(grants.exchange(APP, "one", NOW), Err(Denial::Code));
        assert_eq!(grants.exchange(("1", "wrong"), "two", NOW), Err(Denial::App));
        assert!(grants.accepts(&one.access, NOW) && grants.accepts(&two.access, NOW));
    }

    #[test]
    fn tokens_expire() {
        let oauth = OAuth { access_for: Duration::from_secs(2), refresh_for: NOW, ..OAuth::default() };
        let mut grants = Grants::new(1, oauth);
        let pair = grants.exchange(APP, "code", NOW).unwrap().clone();
        assert!(grants.accepts(&pair.access, NOW + Duration::from_millis(1_999)));
        assert!(!grants.accepts(&pair.access, NOW + Duration::from_secs(2)));
        let pair = grants.refresh(APP, &pair.refresh, NOW + Duration::from_secs(3)).unwrap().clone();
        grants.expire(&pair.access);
        assert!(!grants.accepts(&pair.access, NOW + Duration::from_secs(3)));
        assert_eq!(grants.refresh(APP, &pair.refresh, 3 * NOW), Err(Denial::Refresh));
    }
}
