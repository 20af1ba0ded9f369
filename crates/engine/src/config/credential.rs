//! The token of a source's requests, and the accounts whose data it may read.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Value;

use super::SecretRef;

/// Name of the credential that a source's own keys make.
pub const DEFAULT_CREDENTIAL: &str = "default";

/// One `[[source.credential]]`, or the same keys of a source itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialConfig {
    /// Distinct among the source's credentials.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// An access token that is used as it is.
    pub token: Option<SecretRef>,
    /// The app to which access was granted: its tokens are refreshed.
    #[serde(default, deserialize_with = "app_id")]
    pub app_id: Option<String>,
    /// The app's secret, or the one that requests are signed with.
    pub secret: Option<SecretRef>,
    /// The accounts that it covers.
    pub accounts: Option<Accounts>,
}

/// The accounts of a credential.
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

/// The id of an app, written as text or number.
pub(super) struct AppId(pub(super) String);

impl CredentialConfig {
    /// Checks that token, app and accounts fit together.
    pub(super) fn check(&self) -> Result<(), String> {
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

impl<'de> Deserialize<'de> for Accounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Form {
            File(PathBuf),
            Sql(String),
        }
        let wrong = || {
            D::Error::custom(
                "write [\"1001\", ..], \"token\", { file = \"accounts.txt\" } or { sql = \"select ..\" }",
            )
        };
        match Value::deserialize(deserializer)? {
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

impl<'de> Deserialize<'de> for AppId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(id) if !id.is_empty() => Ok(Self(id)),
            Value::Integer(id) => Ok(Self(id.to_string())),
            _ => Err(D::Error::custom("the app's id, as text or number")),
        }
    }
}

fn app_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    AppId::deserialize(deserializer).map(|id| Some(id.0))
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(valid) {
        return Err(D::Error::custom(format!("\"{name}\": letters, digits, -, _ and .")));
    }
    Ok(name)
}
