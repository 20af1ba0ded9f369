//! What a source's requests are proved with, and whose data they may read.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::{SourceConfig, TokenRef};

/// Name of the credential that a source's own keys make.
pub const DEFAULT_CREDENTIAL: &str = "default";

/// Which accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accounts {
    /// These.
    List(Vec<String>),
    /// Those that the API names with its tokens: `"token"`.
    Token,
    /// Those of this file, one a line; `#` begins a comment.
    File(PathBuf),
    /// The first column of this query's rows.
    Sql(String),
}

/// One `[[source.credential]]`, or the same keys of a source itself.
#[derive(Clone, Debug)]
pub struct CredentialConfig {
    /// Tells it from the source's others.
    pub name: String,
    /// An access token that is used as it is.
    pub token: Option<TokenRef>,
    /// The app to which access was granted: its tokens are refreshed.
    pub app_id: Option<String>,
    /// The app's secret, or the one that requests are signed with.
    pub secret: Option<TokenRef>,
    /// The accounts that it covers.
    pub accounts: Option<Accounts>,
}

/// What is wrong with a secret's place. The wrong form may be the secret itself: it is not repeated.
const SECRET: &str = "write { env = \"NAME\" } or { file = \"PATH\" }, never the secret itself";

impl Accounts {
    fn read(value: Value) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Form {
            File(PathBuf),
            Sql(String),
        }
        let wrong = || {
            "write [\"1001\", ..], \"token\", { file = \"accounts.txt\" } or { sql = \"select ..\" }"
                .to_owned()
        };
        match value {
            Value::Array(items) => {
                let text = |item: Value| item.as_str().map(str::to_owned).ok_or_else(wrong);
                items.into_iter().map(text).collect::<Result<_, _>>().map(Self::List)
            }
            Value::String(text) if text == "token" => Ok(Self::Token),
            Value::Table(table) => match table.try_into() {
                Ok(Form::File(path)) => Ok(Self::File(path)),
                Ok(Form::Sql(sql)) => Ok(Self::Sql(sql)),
                Err(_) => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }
}

impl Default for Accounts {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl From<Vec<String>> for Accounts {
    fn from(list: Vec<String>) -> Self {
        Self::List(list)
    }
}

impl CredentialConfig {
    /// The keys of a credential, taken out of a table.
    pub(super) fn take(table: &mut Table, name: &str) -> Result<Self, String> {
        let mut secret = |key: &str| {
            let value = table.remove(key).map(TokenRef::deserialize).transpose();
            value.map_err(|_| format!("key `{key}`: {SECRET}"))
        };
        let (token, secret) = (secret("token")?, secret("secret")?);
        let app_id = match table.remove("app_id") {
            None => None,
            Some(Value::String(id)) if !id.is_empty() => Some(id),
            Some(Value::Integer(id)) => Some(id.to_string()),
            Some(_) => return Err("key `app_id`: the app's id, as text or number".into()),
        };
        let accounts = table.remove("accounts").map(Accounts::read).transpose();
        let accounts = accounts.map_err(|what| format!("key `accounts`: {what}"))?;
        Ok(Self { name: name.to_owned(), token, app_id, secret, accounts })
    }

    /// The `[[source.credential]]`s, taken out of a source's table.
    pub(super) fn take_all(table: &mut Table) -> Result<Vec<Self>, String> {
        let wrong = || "key `credential`: write [[source.credential]], each with a name".to_owned();
        let tables = match table.remove("credential") {
            None => return Ok(Vec::new()),
            Some(Value::Array(tables)) => tables,
            Some(_) => return Err(wrong()),
        };
        let mut all: Vec<Self> = Vec::new();
        for table in tables {
            let Value::Table(mut table) = table else { return Err(wrong()) };
            let Some(Value::String(name)) = table.remove("name") else { return Err(wrong()) };
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || !name.chars().all(good) {
                return Err(format!("key `credential.name`: \"{name}\": letters, digits, -, _ and ."));
            }
            if all.iter().any(|other| other.name == name) {
                return Err(format!("key `credential.name`: two are called {name}"));
            }
            let within = |what: String| what.replacen("key `", "key `credential.", 1);
            all.push(Self::take(&mut table, &name).map_err(within)?);
            if let Some(key) = table.keys().next() {
                return Err(format!(
                    "key `credential.{key}`: a credential has name, token, app_id, secret and accounts"
                ));
            }
        }
        Ok(all)
    }

    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        for place in [&mut self.token, &mut self.secret].into_iter().flatten() {
            if let TokenRef::File(path) = place {
                *path = folder.join(&*path);
            }
        }
        if let Some(Accounts::File(path)) = &mut self.accounts {
            *path = folder.join(&*path);
        }
    }

    fn check(&self) -> Result<(), String> {
        let Self { name, token, app_id, secret, accounts } = self;
        if token.is_some() && app_id.is_some() {
            return Err(format!("credential {name}: either token, used as it is, or app_id and secret"));
        }
        if app_id.is_some() && secret.is_none() {
            return Err(format!(
                "credential {name}: app_id wants the app's secret: secret = {{ env = \"…\" }}"
            ));
        }
        let granted = accounts == &Some(Accounts::Token);
        if granted && app_id.is_none() {
            return Err(format!(
                "credential {name}: accounts = \"token\" are named when access is granted: add app_id and secret, or list them"
            ));
        }
        match accounts {
            None => Err(format!(
                "credential {name}: no accounts: add accounts = [\"…\"], \"token\", {{ file = \"…\" }} or {{ sql = \"…\" }}"
            )),
            Some(Accounts::List(list)) if list.is_empty() => {
                Err(format!("credential {name}: no accounts: add accounts = [\"…\"]"))
            }
            Some(_) => Ok(()),
        }
    }
}

impl SourceConfig {
    /// Its credentials: the one that its own keys make, or those that it lists, which take from it
    /// the app that they don't name.
    ///
    /// # Errors
    /// What is wrong, and the remedy.
    pub fn credentials(&self) -> Result<Vec<CredentialConfig>, String> {
        let Self { credential: own, credentials: listed, .. } = self;
        let mut all = if listed.is_empty() { vec![own.clone()] } else { listed.clone() };
        if !listed.is_empty() {
            if own.token.is_some() {
                return Err("with [[source.credential]] the token stands there, not beside it".into());
            }
            if own.accounts.is_some() && listed.len() > 1 {
                return Err("with several [[source.credential]] each names its own accounts".into());
            }
            for credential in &mut all {
                if credential.token.is_none() && credential.app_id.is_none() {
                    credential.app_id.clone_from(&own.app_id);
                    credential.secret = credential.secret.take().or_else(|| own.secret.clone());
                }
                credential.accounts = credential.accounts.take().or_else(|| own.accounts.clone());
            }
        }
        all.iter().try_for_each(CredentialConfig::check)?;
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Result<SourceConfig, String> {
        let mut table: Table = format!("use = \"x\"\n{text}").parse().unwrap();
        let credentials = CredentialConfig::take_all(&mut table)?;
        let credential = CredentialConfig::take(&mut table, DEFAULT_CREDENTIAL)?;
        Ok(SourceConfig { credential, credentials, ..SourceConfig::of("x") })
    }

    #[test]
    fn accounts_come_from_four_places() {
        for (text, accounts) in [
            ("[\"1\", \"2\"]", Accounts::List(vec!["1".into(), "2".into()])),
            ("\"token\"", Accounts::Token),
            ("{ file = \"a.txt\" }", Accounts::File("a.txt".into())),
            ("{ sql = \"select 1\" }", Accounts::Sql("select 1".into())),
        ] {
            let text = format!("app_id = 7\nsecret = {{ env = \"S\" }}\naccounts = {text}");
            let all = source(&text).unwrap().credentials().unwrap();
            assert_eq!(all[0].accounts, Some(accounts));
            assert_eq!((all[0].name.as_str(), all[0].app_id.as_deref()), ("default", Some("7")));
        }
        for bad in ["7", "\"tokens\"", "[1]", "{ files = \"a\" }", "{}"] {
            assert!(source(&format!("accounts = {bad}")).unwrap_err().contains("`accounts`"), "{bad}");
        }
    }

    #[test]
    fn credentials_share_the_sources_app() {
        let text = "app_id = \"7\"\nsecret = { env = \"S\" }\n\
                    [[credential]]\nname = \"a\"\naccounts = \"token\"\n\
                    [[credential]]\nname = \"b\"\ntoken = { env = \"T\" }\naccounts = [\"1\"]";
        let all = source(text).unwrap().credentials().unwrap();
        assert_eq!((all[0].app_id.as_deref(), all[0].secret.is_some()), (Some("7"), true));
        assert_eq!((all[1].app_id.as_deref(), all[1].token.is_some()), (None, true));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_remedy() {
        for (text, words) in [
            ("token = { env = \"T\" }", "no accounts: add accounts"),
            ("accounts = [\"1\"]\napp_id = 7", "secret = {"),
            ("accounts = [\"1\"]\napp_id = 7\nsecret = \"hunter2\"", "`secret`"),
            ("accounts = \"token\"\ntoken = { env = \"T\" }", "app_id and secret"),
            (
                "accounts = [\"1\"]\napp_id = 7\nsecret = { env = \"S\" }\ntoken = { env = \"T\" }",
                "either token",
            ),
            (
                "accounts = [\"1\"]\n[[credential]]\nname = \"a\"\n[[credential]]\nname = \"b\"",
                "its own accounts",
            ),
            ("token = { env = \"T\" }\n[[credential]]\nname = \"a\"", "stands there"),
            ("[[credential]]\nname = \"a\"\n[[credential]]\nname = \"a\"", "two are called a"),
            ("[[credential]]\ntoken = { env = \"T\" }", "each with a name"),
            ("[[credential]]\nname = \"a\"\ntokn = 1", "`credential.tokn`"),
            ("[[credential]]\nname = \"a\"\ntoken = \"hunter2\"", "`credential.token`"),
        ] {
            let error = source(text).and_then(|source| source.credentials()).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
