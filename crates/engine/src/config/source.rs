//! One `[[source]]`: its own keys, its credentials, and overrides of its definition.

use std::{collections::HashSet, fmt, path::Path};

use pagemill_core::TimeOfDay;
use serde::{
    Deserialize,
    de::{Error as _, MapAccess, Visitor},
};
use toml::Table;

use super::{
    SecretRef,
    credential::{Accounts, AppId, CredentialConfig, DEFAULT_CREDENTIAL},
};

/// One `[[source]]`.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// A shipped definition, or a path to one.
    pub definition: String,
    /// Streams to pull; empty = all of the definition.
    pub streams: Vec<String>,
    /// Token, app and accounts of the source's own keys.
    pub credential: CredentialConfig,
    /// `[[source.credential]]`
    pub credentials: Vec<CredentialConfig>,
    /// When a run's data is needed.
    pub deadline: Option<TimeOfDay>,
    /// Everything else: overrides of the definition's keys.
    pub overrides: Table,
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

    /// The credential that the source's own keys make, or those that it lists. A listed credential takes
    /// the app and the accounts that it does not name from the source.
    ///
    /// # Errors
    /// A text with the problem and the remedy.
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

    /// Paths are meant from the config's folder. A definition's name is a path if it ends in `.toml`.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        if self.definition.ends_with(".toml") {
            self.definition = folder.join(&self.definition).display().to_string();
        }
        for credential in std::iter::once(&mut self.credential).chain(&mut self.credentials) {
            for place in [&mut credential.token, &mut credential.secret].into_iter().flatten() {
                if let SecretRef::File(path) = place {
                    *path = folder.join(&*path);
                }
            }
            if let Some(Accounts::File(path)) = &mut credential.accounts {
                *path = folder.join(&*path);
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.definition.is_empty() {
            return Err("key `use` is missing: name a shipped definition or a path to one".into());
        }
        let mut names = HashSet::new();
        match self.credentials.iter().find(|credential| !names.insert(&credential.name)) {
            Some(twice) => Err(format!("key `credential.name`: two are called {}", twice.name)),
            None => Ok(()),
        }
    }
}

/// Reads the keys one by one: an error then has the line of its key, and every key that is not the
/// source's own is an override.
impl<'de> Deserialize<'de> for SourceConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = SourceConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a [[source]] table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SourceConfig, A::Error> {
                let mut source = SourceConfig::of("");
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "use" => source.definition = map.next_value()?,
                        "streams" => source.streams = map.next_value()?,
                        "token" => source.credential.token = Some(map.next_value()?),
                        "app_id" => source.credential.app_id = Some(map.next_value::<AppId>()?.0),
                        "secret" => source.credential.secret = Some(map.next_value()?),
                        "accounts" => source.credential.accounts = Some(map.next_value()?),
                        "credential" => source.credentials = map.next_value()?,
                        "deadline" => source.deadline = Some(map.next_value()?),
                        _ => drop(source.overrides.insert(key, map.next_value()?)),
                    }
                }
                source.check().map_err(A::Error::custom)?;
                Ok(source)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_meant_from_the_configs_folder() {
        let mut source = SourceConfig::of("own.toml");
        source.credential.token = Some(SecretRef::File("secrets/token".into()));
        source.resolve_paths(Path::new("/etc/pagemill"));
        assert_eq!(source.definition, "/etc/pagemill/own.toml");
        assert!(
            matches!(&source.credential.token, Some(SecretRef::File(p)) if p == Path::new("/etc/pagemill/secrets/token"))
        );
        let mut shipped = SourceConfig::of("xiaohongshu");
        shipped.resolve_paths(Path::new("/etc/pagemill"));
        assert_eq!(shipped.definition, "xiaohongshu");
    }

    fn source(text: &str) -> Result<SourceConfig, String> {
        toml::from_str(&format!("use = \"x\"\n{text}")).map_err(|e| e.message().to_owned())
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
            assert!(source(&format!("accounts = {bad}")).unwrap_err().contains("accounts.txt"), "{bad}");
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
            ("accounts = [\"1\"]\napp_id = 7\nsecret = \"hunter2\"", "never the secret itself"),
            ("accounts = [\"1\"]\napp_id = \"\"", "the app's id"),
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
            ("[[credential]]\ntoken = { env = \"T\" }", "`name`"),
            ("[[credential]]\nname = \"a b\"", "letters, digits"),
            ("[[credential]]\nname = \"a\"\ntokn = 1", "`tokn`"),
            ("[[credential]]\nname = \"a\"\ntoken = \"hunter2\"", "never the secret itself"),
        ] {
            let error = source(text).and_then(|source| source.credentials()).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
