//! What proves who sends a request.

use secrecy::{ExposeSecret, SecretString};

/// What proves who sends a request: the token that covers an account, and the secret that signs requests.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The access token.
    pub token: SecretString,
    /// The secret behind signatures, for sources whose definition has `[auth.sign]`.
    pub secret: Option<SecretString>,
}

impl From<SecretString> for Credential {
    fn from(token: SecretString) -> Self {
        Self { token, secret: None }
    }
}

impl From<String> for Credential {
    fn from(token: String) -> Self {
        SecretString::from(token).into()
    }
}

impl From<&str> for Credential {
    fn from(token: &str) -> Self {
        SecretString::from(token).into()
    }
}

impl Credential {
    /// The secrets, which never go into a message.
    pub(crate) fn secrets(&self) -> Vec<&str> {
        let secrets = [Some(&self.token), self.secret.as_ref()];
        secrets.into_iter().flatten().map(ExposeSecret::expose_secret).filter(|s| !s.is_empty()).collect()
    }

    /// Takes its secrets out of a message, should the API have repeated one.
    pub(crate) fn redact(&self, message: String) -> String {
        self.secrets().into_iter().fold(message, |message, secret| message.replace(secret, "***"))
    }
}
