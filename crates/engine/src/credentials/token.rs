//! The token of one request.

use std::sync::Arc;

use pagemill_source::Credential;

use super::{
    rotating::{RotatingToken, UsedToken},
    token_state::TokenUse,
};

/// The token of one request, if its API wants one.
pub struct Token {
    credential: Option<Arc<Credential>>,
    rotating: Option<(Arc<RotatingToken>, TokenUse)>,
}

impl Token {
    pub(super) fn none() -> Self {
        Self { credential: None, rotating: None }
    }

    pub(super) fn fixed(credential: Arc<Credential>) -> Self {
        Self { credential: Some(credential), rotating: None }
    }

    pub(super) fn rotating(rotating: Arc<RotatingToken>, (credential, used): UsedToken) -> Self {
        Self { credential: Some(credential), rotating: Some((rotating, used)) }
    }

    /// The credential as the source's client takes it.
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_deref()
    }

    /// The newest token that this process knows, without waiting: this one may have been replaced
    /// while a request waited for its slot. Call it when the request is sent.
    pub fn newest(self) -> Self {
        let newest = self.rotating.as_ref().and_then(|(rotating, _)| {
            rotating.current().map(|token| Self::rotating(rotating.clone(), token))
        });
        newest.unwrap_or(self)
    }

    /// The API accepted the token: its response was a page.
    pub fn accepted(&self) {
        if let Some((rotating, used)) = &self.rotating {
            rotating.accepted(*used);
        }
    }

    /// The API rejected the token. A retry has a new one, unless the account is to blame. However many
    /// requests were rejected, one new token is requested.
    pub fn rejected(&self) {
        if let Some((rotating, used)) = &self.rotating {
            rotating.rejected(*used);
        }
    }
}
