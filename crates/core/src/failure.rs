use std::sync::LazyLock;

use regex::Regex;

/// What a failure means for the job, decided by the rules of the source's definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// Temporary: the page waits in a retry tier, and an attempt is spent.
    Transient,
    /// The API throttled the request: the quota handles it, and no attempt is spent.
    Throttled,
    /// The token was refused: refreshed once, then retried like a transient failure.
    Token,
    /// Will not pass by itself: dead-lettered at once.
    Permanent,
}

impl FailureClass {
    /// Whether a failure of this class counts as an attempt of the page.
    pub fn costs_attempt(self) -> bool {
        match self {
            Self::Transient | Self::Token | Self::Permanent => true,
            Self::Throttled => false,
        }
    }
}

/// The quota that a throttled response is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum QuotaScope {
    /// All requests of the source.
    #[default]
    App,
    /// Those of one stream.
    Stream,
    /// Those of one account.
    Account,
}

/// Why a page could not be fetched or stored. The message never holds a secret or a row's values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What to do about it.
    pub class: FailureClass,
    /// For the operator: what happened, where.
    pub message: String,
    /// The wait that the API requested, if it named one.
    pub retry_after: Option<std::time::Duration>,
    /// The quota that was exceeded, if the request was throttled.
    pub quota: QuotaScope,
}

impl Failure {
    /// A failure of a class, with its message. U+0000, which PostgreSQL cannot hold, becomes U+FFFD.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.contains('\0') {
            message = message.replace('\0', "\u{fffd}");
        }
        Self { class, message, retry_after: None, quota: QuotaScope::App }
    }

    /// Shorthand for [`FailureClass::Transient`].
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Transient, message)
    }

    /// Shorthand for [`FailureClass::Permanent`].
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Permanent, message)
    }

    /// Groups failures that differ only in numbers and ids; see [`fingerprint`].
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.message)
    }
}

/// A short stable name for a kind of error: the message with numbers, ids and quoted values taken
/// out, hashed. `dead groups` counts by it.
pub fn fingerprint(message: &str) -> String {
    static VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#""[^"]*"|'[^']*'|\b[0-9a-fA-F]{8,}(?:-[0-9a-fA-F]{4,})*\b|\d+"#)
            .expect("a constant pattern")
    });
    let general = VARIABLE.replace_all(message, "#");
    format!("{:08x}", xxhash_rust::xxh3::xxh3_64(general.as_bytes()) as u32)
}

/// A name for a message that has none of its own: equal for equal bytes only.
pub fn body_id(kind: &str, body: &[u8]) -> String {
    format!("{kind}:{:032x}", xxhash_rust::xxh3::xxh3_128(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn being_throttled_costs_no_attempt() {
        use FailureClass::{Permanent, Throttled, Token, Transient};
        assert!(!Throttled.costs_attempt());
        assert!([Transient, Token, Permanent].into_iter().all(FailureClass::costs_attempt));
    }

    #[test]
    fn numbers_and_ids_do_not_split_a_group() {
        assert_eq!(
            fingerprint("HTTP 500 on page 7 (request 5f3c9a7712ab)"),
            fingerprint("HTTP 500 on page 12 (request 00aa1177ccde)")
        );
        assert_ne!(fingerprint("HTTP error: timed out"), fingerprint("HTTP error: reset"));
    }
}
