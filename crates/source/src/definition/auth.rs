//! How a request proves who sent it: the checked form of `[auth]`.

use std::time::Duration;

use reqwest::header::HeaderName;

use crate::{request::RequestPlan, sign::Sign, template::Template};

/// How a request proves who sent it.
#[derive(Debug)]
pub(crate) struct Auth {
    /// Carries the token, if it doesn't go into query or body.
    pub(crate) header: Option<HeaderName>,
    pub(crate) prefix: String,
    pub(crate) sign: Option<Sign>,
    /// How tokens are granted and refreshed, unless they come from the config.
    pub(crate) oauth: Option<OAuth>,
}

/// How access is granted and renewed: the checked form of `[auth] kind = "oauth2"`.
#[derive(Debug)]
pub(crate) struct OAuth {
    pub(crate) authorize_url: Option<Template>,
    pub(crate) refresh_before: Duration,
    pub(crate) exchange: Option<RequestPlan>,
    pub(crate) refresh: RequestPlan,
    pub(crate) response: TokenPaths,
}

/// Paths into the response to an exchange or a refresh.
#[derive(Debug, Default)]
pub(crate) struct TokenPaths {
    pub(crate) access_token: Vec<String>,
    pub(crate) access_expires_in: Vec<String>,
    pub(crate) refresh_token: Vec<String>,
    pub(crate) refresh_expires_in: Vec<String>,
    pub(crate) accounts: Vec<String>,
    pub(crate) account: Option<String>,
}
