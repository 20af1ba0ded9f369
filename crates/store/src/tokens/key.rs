use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use secrecy::{ExposeSecret, SecretString};

use super::TokenPlace;
use crate::{error::StoreError, error::StoreErrorKind};

const BYTES: usize = 32;

/// The key that tokens are encrypted with (ChaCha20-Poly1305): a random nonce, then the ciphertext,
/// which opens only in the row that it was written for.
#[derive(Clone)]
pub struct TokenKey(LessSafeKey);

impl TokenKey {
    /// Environment variable that holds the key.
    pub const VARIABLE: &'static str = "PAGEMILL_KEY";

    /// The key of the environment: 32 bytes, as base64 or hexadecimal digits.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] saying what is wrong and how to make one.
    pub fn from_environment() -> Result<Self, StoreError> {
        match std::env::var(Self::VARIABLE) {
            Ok(text) => Self::parse(&text),
            Err(_) => Err(bad("is not set")),
        }
    }

    /// 32 bytes, as base64 or hexadecimal digits.
    ///
    /// # Errors
    /// As [`TokenKey::from_environment`].
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let text = text.trim();
        let bytes = hexadecimal(text).or_else(|| STANDARD.decode(text).ok());
        let bytes = bytes.filter(|bytes| bytes.len() == BYTES).ok_or_else(|| bad("is no key of 32 bytes"))?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|_| bad("is no key of 32 bytes"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    pub(super) fn seal(&self, place: &TokenPlace, which: &str, token: &SecretString) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).expect("the system has random numbers");
        let mut text = token.expose_secret().as_bytes().to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), identity(place, which), &mut text)
            .expect("a token is far shorter than the cipher's limit");
        [&nonce[..], &text].concat()
    }

    pub(super) fn open(
        &self,
        place: &TokenPlace,
        which: &str,
        sealed: &[u8],
    ) -> Result<SecretString, StoreError> {
        let opened = || {
            let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut text = text.to_vec();
            let text = self.0.open_in_place(nonce, identity(place, which), &mut text).ok()?;
            Some(std::str::from_utf8(text).ok()?.into())
        };
        opened().ok_or_else(|| {
            let TokenPlace { source, credential } = place;
            let what = format!(
                "the {which} token of source {source}, credential {credential}, does not open with this {}: \
                 set the key it was stored with, or run `pagemill auth {source}` again",
                Self::VARIABLE
            );
            StoreError::new(StoreErrorKind::Invalid, what)
        })
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey")
    }
}

/// What the ciphertext is bound to.
fn identity(place: &TokenPlace, which: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("pagemill.tokens\0{}\0{}\0{which}", place.source, place.credential).into_bytes())
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.is_ascii() && text.len() == 2 * BYTES;
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    digits.then(|| (0..text.len()).step_by(2).map(byte).collect()).flatten()
}

fn bad(what: &str) -> StoreError {
    let name = TokenKey::VARIABLE;
    let what = format!(
        "{name} {what}: tokens are stored encrypted with it. Make one, `openssl rand -base64 32`, \
         and give the same one to every process"
    );
    StoreError::new(StoreErrorKind::Invalid, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(source: &str, credential: &str) -> TokenPlace {
        TokenPlace { source: source.into(), credential: credential.into() }
    }

    #[test]
    fn a_key_reads_as_base64_or_hexadecimal() {
        let hexadecimal = "07".repeat(32);
        let base64 = STANDARD.encode([7; 32]);
        let (a, b) =
            (TokenKey::parse(&hexadecimal).unwrap(), TokenKey::parse(&format!(" {base64}\n")).unwrap());
        let at = place("a", "b");
        let sealed = a.seal(&at, "access", &"secret".into());
        assert_eq!(b.open(&at, "access", &sealed).unwrap().expose_secret(), "secret");
        for bad in ["", "hunter2", &"07".repeat(16), &"zz".repeat(32), &STANDARD.encode([7; 33])] {
            let error = TokenKey::parse(bad).unwrap_err().to_string();
            assert!(error.contains("PAGEMILL_KEY") && error.contains("openssl rand -base64 32"), "{error}");
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
        assert!(!format!("{a:?}").contains('7'));
    }

    #[test]
    fn a_token_opens_only_where_it_was_sealed_and_with_its_key() {
        let key = TokenKey::parse(&"07".repeat(32)).unwrap();
        let at = place("a", "b");
        let sealed = key.seal(&at, "access", &"secret".into());
        assert_ne!(sealed, key.seal(&at, "access", &"secret".into()), "the nonce is new each time");
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        let other = TokenKey::parse(&"08".repeat(32)).unwrap();
        let mut touched = sealed.clone();
        *touched.last_mut().unwrap() ^= 1;
        for refused in [
            key.open(&place("a", "c"), "access", &sealed),
            key.open(&place("b", "b"), "access", &sealed),
            key.open(&at, "refresh", &sealed),
            key.open(&at, "access", &touched),
            key.open(&at, "access", &sealed[..5]),
            other.open(&at, "access", &sealed),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
            assert!(
                error.to_string().contains("pagemill auth a")
                    || error.to_string().contains("pagemill auth b")
            );
        }
    }
}
