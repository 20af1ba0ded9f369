use std::time::Duration;

/// How the API grants access by OAuth 2: one app, whose codes can each be exchanged once. Tokens are a
/// function of the seed and of how many were issued before.
#[derive(Clone)]
pub struct OAuth {
    /// The app's id, as a number or text in requests.
    pub app_id: String,
    /// The app's secret.
    pub secret: String,
    /// Authorisation codes, each valid for one exchange: each is a grant with tokens of its own.
    pub codes: Vec<String>,
    /// The accounts that every grant covers.
    pub accounts: Vec<String>,
    /// How long an access token lives.
    pub access_for: Duration,
    /// How long a refresh token lives.
    pub refresh_for: Duration,
}

impl Default for OAuth {
    /// The app 1 with the secret `secret`, the code `code`, and the account 1001; the API's own lifetimes.
    fn default() -> Self {
        Self {
            app_id: "1".to_owned(),
            secret: "secret".to_owned(),
            codes: vec!["code".to_owned()],
            accounts: vec!["1001".to_owned()],
            access_for: Duration::from_secs(86_399),
            refresh_for: Duration::from_secs(2_591_999),
        }
    }
}
