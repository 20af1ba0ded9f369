//! The credentials of a source: which covers an account, and the token that goes with a request.

mod grant;
mod rotating;

use std::{
    collections::HashMap,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use pagemill_core::Failure;
use pagemill_source::{Client, Credential, Definition};
use pagemill_store::{Store, StoreError, StoreErrorKind, TokenKey, TokenPlace};
use tokio::sync::Mutex;

pub use self::grant::{Grant, Granted};
use self::rotating::{Rotating, Use};
use crate::{
    config::{Accounts, CredentialConfig},
    sources::SourceError,
};

/// An account that no credential covers is looked for anew, at most so often.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// All credentials of a source.
pub struct Credentials {
    source: String,
    store: Store,
    all: Vec<Held>,
    covered: Mutex<Covered>,
}

struct Held {
    name: String,
    accounts: Accounts,
    proof: Proof,
}

/// What a request is proved with.
enum Proof {
    /// Nothing: the API is open.
    Open,
    /// A token that is used as it is.
    Fixed(Arc<Credential>),
    /// Tokens that rotate.
    Rotating(Arc<Rotating>),
}

/// Which credential covers which account, as it was when last looked.
#[derive(Default)]
struct Covered {
    by: HashMap<String, usize>,
    looked: Option<Instant>,
}

/// What goes with one request.
pub struct Token {
    credential: Option<Arc<Credential>>,
    rotating: Option<(Arc<Rotating>, Use)>,
}

/// There is nothing to go with a request.
#[derive(Debug)]
pub enum NoToken {
    /// The page fails by it.
    Failed(Failure),
    /// PostgreSQL cannot be asked.
    Unavailable(StoreError),
}

/// The account of a source that knows none.
pub const WHOLE: &str = "all";

impl Credentials {
    /// The credentials that a config names, checked: secrets are read, those that are stored can be
    /// decrypted.
    pub(crate) fn new(
        definition: &Definition,
        configs: Vec<CredentialConfig>,
        client: &Client,
        store: &Store,
    ) -> anyhow::Result<Self> {
        let source = definition.name().to_owned();
        let held = |config: CredentialConfig| {
            let within = || format!("source {source}, credential {}", config.name);
            let secret =
                config.secret.as_ref().map(|secret| secret.read()).transpose().with_context(within)?;
            let proof = match (&config.token, &config.app_id) {
                _ if !definition.needs_token() => Proof::Open,
                (Some(token), _) => {
                    Proof::Fixed(Arc::new(Credential { token: token.read().with_context(within)?, secret }))
                }
                (None, Some(_)) if definition.refreshes_tokens() => {
                    let key = TokenKey::from_environment().with_context(within)?;
                    let place = TokenPlace { source: source.clone(), credential: config.name.clone() };
                    let app = grant::app(&config).with_context(within)?;
                    Proof::Rotating(Arc::new(Rotating::new(store.clone(), key, place, client.clone(), app)))
                }
                (None, _) => return Err(SourceError::new(&source, wanted(definition)).into()),
            };
            Ok(Held { name: config.name, accounts: config.accounts.unwrap_or_default(), proof })
        };
        let all = configs.into_iter().map(held).collect::<anyhow::Result<_>>()?;
        Ok(Self { source: source.clone(), store: store.clone(), all, covered: Mutex::default() })
    }

    /// The accounts that the credentials cover, in the config's order: files and queries are read
    /// now. Of two credentials that cover one account, the first is used.
    ///
    /// # Errors
    /// A file that cannot be read, a query that fails, a credential without accounts.
    pub async fn accounts(&self) -> anyhow::Result<Vec<String>> {
        let mut covered = self.covered.lock().await;
        self.look(&mut covered).await
    }

    /// What goes with a request for an account: at hand, or bought from the API where the last token
    /// is about to expire or was refused.
    ///
    /// # Errors
    /// [`NoToken`]
    pub async fn token(&self, account: &str) -> Result<Token, NoToken> {
        match &self.all[self.covering(account).await?].proof {
            Proof::Open => Ok(Token { credential: None, rotating: None }),
            Proof::Fixed(credential) => Ok(Token { credential: Some(credential.clone()), rotating: None }),
            Proof::Rotating(rotating) => rotating.token().await,
        }
    }

    /// Whether the tokens stored can be read with this process's key; none at all is no error.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        for held in &self.all {
            if let Proof::Rotating(rotating) = &held.proof {
                rotating.check().await?;
            }
        }
        Ok(())
    }

    /// Waits until no token is being bought: a pair that the API granted is stored before the
    /// process ends. Not for long.
    pub(crate) async fn settle(&self) {
        for held in &self.all {
            if let Proof::Rotating(rotating) = &held.proof {
                rotating.settle().await;
            }
        }
    }

    async fn covering(&self, account: &str) -> Result<usize, NoToken> {
        if self.all.len() == 1 {
            return Ok(0);
        }
        let mut covered = self.covered.lock().await;
        if let Some(&found) = covered.by.get(account) {
            return Ok(found);
        }
        if covered.looked.is_none_or(|looked| looked.elapsed() > LOOK_AGAIN) {
            self.look(&mut covered).await?;
        }
        covered.by.get(account).copied().ok_or_else(|| {
            NoToken::Failed(Failure::permanent(format!(
                "no credential of source {} covers account {account}: name it in the accounts of one [[source.credential]]",
                self.source
            )))
        })
    }

    async fn look(&self, covered: &mut Covered) -> anyhow::Result<Vec<String>> {
        let mut in_order = Vec::new();
        covered.by.clear();
        covered.looked = Some(Instant::now());
        for (nth, held) in self.all.iter().enumerate() {
            let accounts = self.accounts_of(held).await;
            for account in
                accounts.with_context(|| format!("source {}, credential {}", self.source, held.name))?
            {
                if !covered.by.contains_key(&account) {
                    covered.by.insert(account.clone(), nth);
                    in_order.push(account);
                }
            }
        }
        Ok(in_order)
    }

    async fn accounts_of(&self, held: &Held) -> anyhow::Result<Vec<String>> {
        let bad = |what: String| SourceError::new(&self.source, what);
        let (accounts, place) = match &held.accounts {
            Accounts::List(list) => return Ok(list.clone()),
            Accounts::Token => {
                let place = TokenPlace { source: self.source.clone(), credential: held.name.clone() };
                let accounts = self.store.token_accounts(&place).await?;
                (accounts.ok_or_else(|| bad(rotating::never_granted(&place)))?, "the API's grant".to_owned())
            }
            Accounts::File(path) => {
                let place = path.display().to_string();
                let text = fs::read_to_string(path).map_err(|e| bad(format!("accounts: {place}: {e}")))?;
                (lines(&text), place)
            }
            Accounts::Sql(sql) => {
                let (_, rows) = self.store.query_text(sql).await.context("accounts: the query")?;
                let first = rows.into_iter().filter_map(|row| row.into_iter().next().flatten());
                (first.collect(), "the query".to_owned())
            }
        };
        if accounts.is_empty() {
            return Err(bad(format!("accounts: {place} names none")).into());
        }
        Ok(accounts)
    }
}

impl Token {
    /// What the source's client takes.
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_deref()
    }

    /// The newest that this process knows, without waiting: it may have been replaced while a
    /// request waited for its slot. Call it when the request is sent.
    pub fn newest(self) -> Self {
        match &self.rotating {
            Some((rotating, _)) => rotating.newest().unwrap_or(self),
            None => self,
        }
    }

    /// The API answered with a page.
    pub fn worked(&self) {
        if let Some((rotating, used)) = &self.rotating {
            rotating.worked(*used);
        }
    }

    /// The API refused it: it is not used again if that is its own fault, so that a retry has a new
    /// one. However many requests it was refused for, one new token is bought.
    pub fn refused(&self) {
        if let Some((rotating, used)) = &self.rotating {
            rotating.refused(*used);
        }
    }
}

impl From<StoreError> for NoToken {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            StoreErrorKind::Permanent | StoreErrorKind::Invalid => {
                Self::Failed(Failure::transient(error.to_string()))
            }
            _ => Self::Unavailable(error),
        }
    }
}

impl From<anyhow::Error> for NoToken {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<StoreError>() {
            Ok(error) => error.into(),
            Err(error) => Self::Failed(Failure::transient(format!("{error:#}"))),
        }
    }
}

/// What a source's API wants, and the config lacks.
pub(crate) fn wanted(definition: &Definition) -> String {
    let app = "app_id and secret = { env = \"…\" }, then run `pagemill auth`; or ";
    let app = if definition.refreshes_tokens() { app } else { "" };
    format!("its API wants a token: add {app}token = {{ env = \"…\" }} or {{ file = \"…\" }}")
}

/// One account a line; `#` begins a comment.
fn lines(text: &str) -> Vec<String> {
    let plain = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    plain.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_of_accounts() {
        let text = "# ours\n1001\n\n 1002  # the shop\r\n1003";
        assert_eq!(super::lines(text), ["1001", "1002", "1003"]);
    }
}
