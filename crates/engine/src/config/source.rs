use std::{
    fs,
    path::{Path, PathBuf},
};

use pagemill_core::TimeOfDay;
use secrecy::SecretString;
use serde::Deserialize;
use toml::{Spanned, Table, Value};

use super::{ConfigError, CredentialConfig, credential::DEFAULT_CREDENTIAL};

/// One `[[source]]`.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// A shipped definition, or a path to one.
    pub definition: String,
    /// Streams to pull; empty = all of the definition.
    pub streams: Vec<String>,
    /// What its own keys say of token, app and accounts.
    pub credential: CredentialConfig,
    /// `[[source.credential]]`
    pub credentials: Vec<CredentialConfig>,
    /// When a run's data is needed.
    pub deadline: Option<TimeOfDay>,
    /// Everything else: overrides of the definition's keys.
    pub overrides: Table,
}

/// Where a secret is kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenRef {
    /// In this environment variable.
    Env(String),
    /// In this file.
    File(PathBuf),
    /// Here: for the built-in simulator only, never read from a config.
    #[serde(skip)]
    Inline(SecretString),
}

impl SourceConfig {
    /// A source with nothing but its definition.
    pub fn of(definition: &str) -> Self {
        Self {
            definition: definition.to_owned(),
            streams: Vec::new(),
            credential: CredentialConfig {
                name: DEFAULT_CREDENTIAL.to_owned(),
                token: None,
                app_id: None,
                secret: None,
                accounts: None,
            },
            credentials: Vec::new(),
            deadline: None,
            overrides: Table::new(),
        }
    }

    fn from_table(mut table: Table) -> Result<Self, String> {
        fn take<'de, T: Deserialize<'de>>(table: &mut Table, key: &str) -> Result<Option<T>, String> {
            let value = table.remove(key).map(T::deserialize).transpose();
            value.map_err(|e| format!("key `{key}`: {}", e.message()))
        }
        let definition: Option<String> = take(&mut table, "use")?;
        let definition =
            definition.ok_or("key `use` is missing: name a shipped definition or a path to one")?;
        Ok(Self {
            definition,
            streams: take(&mut table, "streams")?.unwrap_or_default(),
            credential: CredentialConfig::take(&mut table, DEFAULT_CREDENTIAL)?,
            credentials: CredentialConfig::take_all(&mut table)?,
            deadline: take(&mut table, "deadline")?,
            overrides: table,
        })
    }

    /// Paths are meant from the config's folder. A definition's name is a path if it ends in `.toml`.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        if self.definition.ends_with(".toml") {
            self.definition = folder.join(&self.definition).display().to_string();
        }
        self.credential.resolve_paths(folder);
        self.credentials.iter_mut().for_each(|credential| credential.resolve_paths(folder));
    }
}

impl TokenRef {
    /// Reads the secret.
    ///
    /// # Errors
    /// [`ConfigError`] naming where it was looked for.
    pub fn read(&self) -> Result<SecretString, ConfigError> {
        let (text, place) = match self {
            Self::Env(name) => (
                std::env::var(name).map_err(|_| {
                    ConfigError(format!("secret: the environment variable {name} is not set"))
                })?,
                format!("the environment variable {name}"),
            ),
            Self::File(path) => (
                fs::read_to_string(path)
                    .map_err(|e| ConfigError(format!("secret: {}: {e}", path.display())))?,
                path.display().to_string(),
            ),
            Self::Inline(token) => return Ok(token.clone()),
        };
        match text.trim() {
            "" => Err(ConfigError(format!("secret: {place} is empty"))),
            token => Ok(token.into()),
        }
    }
}

/// Key under which a bad source carries its problem out of the deserialiser, which cannot fail with
/// a line of its own choosing.
pub(super) const PROBLEM: &str = "\0problem";

pub(super) fn sources<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SourceConfig>, D::Error> {
    let tables: Vec<Spanned<Table>> = Deserialize::deserialize(deserializer)?;
    Ok(tables
        .into_iter()
        .map(|spanned| {
            let at = spanned.span().start;
            SourceConfig::from_table(spanned.into_inner()).unwrap_or_else(|what| {
                let problem = Table::from_iter([
                    ("at".to_owned(), Value::Integer(at as i64)),
                    ("what".to_owned(), Value::String(what)),
                ]);
                let overrides = Table::from_iter([(PROBLEM.to_owned(), Value::Table(problem))]);
                SourceConfig { overrides, ..SourceConfig::of("") }
            })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_meant_from_the_configs_folder() {
        let mut source = SourceConfig::of("own.toml");
        source.credential.token = Some(TokenRef::File("secrets/token".into()));
        source.resolve_paths(Path::new("/etc/pagemill"));
        assert_eq!(source.definition, "/etc/pagemill/own.toml");
        assert!(
            matches!(&source.credential.token, Some(TokenRef::File(p)) if p == Path::new("/etc/pagemill/secrets/token"))
        );
        let mut shipped = SourceConfig::of("xiaohongshu");
        shipped.resolve_paths(Path::new("/etc/pagemill"));
        assert_eq!(shipped.definition, "xiaohongshu");
    }
}
