//! `pagemill.toml`: read once in `main`, environment over it, flags over those.
//!
//! ```text
//! consumer      [consumer]: how pages are worked on                    config/consumer.rs
//! source        [[source]]: keys, credentials, overrides               config/source.rs
//! credential    [[source.credential]]: token and accounts              config/credential.rs
//! secret        where a secret is kept                                 config/secret.rs
//! environment   variables over the file                                config/environment.rs
//! ```

mod consumer;
mod credential;
mod environment;
mod secret;
mod source;

use std::{fs, path::Path};

use secrecy::SecretString;
use serde::Deserialize;
use toml::Table;

pub use self::{
    consumer::{ConsumerSettings, CountOrAuto},
    credential::{Accounts, CredentialConfig, DEFAULT_CREDENTIAL},
    secret::SecretRef,
    source::SourceConfig,
};

/// Path of the config without `--config`.
pub const DEFAULT_PATH: &str = "pagemill.toml";

const POSTGRES_URL: &str = "postgres://pagemill@localhost/pagemill";
const POSTGRES_SCHEMA: &str = "public";
const AMQP_URL: &str = "amqp://guest:guest@localhost:5672/%2f";

/// The whole config.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database.
    #[serde(default)]
    pub postgres: Postgres,
    /// The broker.
    #[serde(default)]
    pub amqp: Amqp,
    /// How pages are worked on.
    #[serde(default)]
    pub consumer: ConsumerSettings,
    /// The report platforms to pull.
    #[serde(default, rename = "source")]
    pub sources: Vec<SourceConfig>,
}

/// `[postgres]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Postgres {
    /// `postgres://user@host:port/database`
    pub url: SecretString,
    /// Schema of the data tables.
    pub schema: String,
}

/// `[amqp]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Amqp {
    /// `amqp://user:password@host:port/vhost`
    pub url: SecretString,
}

/// An error in the config: names the file, the key and the line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl Default for Postgres {
    fn default() -> Self {
        Self { url: POSTGRES_URL.into(), schema: POSTGRES_SCHEMA.into() }
    }
}

impl Default for Amqp {
    fn default() -> Self {
        Self { url: AMQP_URL.into() }
    }
}

impl Config {
    /// Reads a file, and the environment over it.
    ///
    /// # Errors
    /// [`ConfigError`] naming the file, and the key and line where it can.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|e| {
            ConfigError(format!(
                "{}: {e}. Write one (see pagemill.example.toml), or name it with --config",
                path.display()
            ))
        })?;
        let mut config = Self::parse(&text, path, |name| std::env::var(name).ok())?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.sources.iter_mut().for_each(|source| source.resolve_paths(folder));
        Ok(config)
    }

    /// The defaults, and the environment over them.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::parse("", Path::new("environment"), |name| std::env::var(name).ok())
    }

    fn parse(
        text: &str,
        path: &Path,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let error = |e: toml::de::Error| ConfigError(format!("{}: {}", path.display(), at_line(text, &e)));
        // First as written: the errors of this pass know their lines.
        let mut config: Self = toml::from_str(text).map_err(error)?;
        let mut table: Table = toml::from_str(text).map_err(error)?;
        let set = environment::overlay(&mut table, environment);
        if !set.is_empty() {
            table.remove("source");
            let sources = std::mem::take(&mut config.sources);
            config = table.try_into().map_err(|e: toml::de::Error| {
                ConfigError(format!("{} (set by the environment: {})", e.message(), set.join(", ")))
            })?;
            config.sources = sources;
        }
        let wrong = |what: String| ConfigError(format!("{}: {what}", path.display()));
        config.consumer.check().map_err(wrong)?;
        Ok(config)
    }
}

/// Line, key and what is wrong. The library's own words would show the line, and with it a password.
fn at_line(text: &str, error: &toml::de::Error) -> String {
    let Some(span) = error.span() else { return error.message().to_owned() };
    let start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let number = text[..start].matches('\n').count() + 1;
    let line = text[start..].lines().next().unwrap_or_default().trim();
    // A line that is neither a key nor a header may be part of a value: it is not shown.
    let key = match line.split_once('=') {
        Some((key, _)) => key.trim(),
        None if line.starts_with('[') => line,
        None => "",
    };
    let key = if key.is_empty() { String::new() } else { format!(", {key}") };
    format!("line {number}{key}: {}", error.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("pagemill.toml"), |_| None)
    }

    #[test]
    fn the_designs_example_reads() {
        let config = parse(
            r#"
            [consumer]
            workers = 12
            retry = ["1s", "10s"]
            [[source]]
            use = "xiaohongshu"
            base_url = "http://127.0.0.1:8765"
            accounts = ["1001", "1002"]
            rate = { per_second = 50 }
            token = { env = "XHS_TOKEN" }
            restate = ["7d", "30d weekly"]
            ready_at = "10:15 Asia/Shanghai"
            deadline = "09:00"
            "#,
        )
        .unwrap();
        assert_eq!(config.consumer.workers, CountOrAuto::Count(12));
        let source = &config.sources[0];
        let accounts = vec!["1001".to_owned(), "1002".to_owned()];
        assert_eq!(source.credential.accounts, Some(Accounts::List(accounts)));
        let overrides: std::collections::BTreeSet<_> = source.overrides.keys().map(String::as_str).collect();
        assert_eq!(overrides, ["base_url", "rate", "ready_at", "restate"].into());
    }

    #[test]
    fn errors_name_key_and_line() {
        for (text, words) in [
            ("[consumer]\nworkrs = 3", &["line 2", "workrs"][..]),
            ("[consumer]\nworkers = \"many\"", &["line 2", "workers", "auto"]),
            ("[consumer]\ngrace = \"20\"", &["line 2", "grace", "20s"]),
            ("[postgres]\nurl = 3", &["line 2", "url"]),
            ("[consumer]\nretry = [\"10s\", \"1s\"]", &["consumer.retry", "growing"]),
            ("[consumer]\nrescue = \"2m\"", &["line 2", "`rescue`", "`stalled_after`"]),
            ("\n[[source]]\naccounts = [\"1\"]", &["line 2, [[source]]", "`use`"]),
            ("\n[[source]]\nuse = \"x\"\naccounts = 7", &["line 4, accounts", "accounts.txt"]),
            ("\n[[source]]\nuse = \"x\"\ndeadline = 9", &["line 4, deadline"]),
        ] {
            let error = parse(text).unwrap_err().to_string();
            for word in words.iter().chain(&["pagemill.toml"]) {
                assert!(error.contains(word), "{word} in: {error}");
            }
        }
    }

    #[test]
    fn the_environment_goes_over_the_file() {
        let environment = |name: &str| match name {
            "PAGEMILL_CONSUMER_WORKERS" => Some("7".to_owned()),
            "PAGEMILL_CONSUMER_RETRY" => Some("1s, 2s".to_owned()),
            "PAGEMILL_CONSUMER_KEEP_RESPONSES" => Some("false".to_owned()),
            _ => None,
        };
        let text = "[consumer]\nworkers = 3\nattempts = 2\n[[source]]\nuse = \"x\"";
        let config = Config::parse(text, Path::new("pagemill.toml"), environment).unwrap();
        assert_eq!((config.consumer.workers, config.consumer.attempts), (CountOrAuto::Count(7), 2));
        assert!(!config.consumer.keep_responses);
        assert_eq!((config.consumer.retry.len(), config.sources.len()), (2, 1));
        let wrong = |name: &str| (name == "PAGEMILL_CONSUMER_ATTEMPTS").then(|| "many".to_owned());
        let error = Config::parse("", Path::new("x"), wrong).unwrap_err().to_string();
        assert!(error.contains("PAGEMILL_CONSUMER_ATTEMPTS"), "{error}");
    }

    #[test]
    fn secrets_are_never_shown() {
        let config = parse("[postgres]\nurl = \"postgres://u:hunter2@h/d\"").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        for wrong in [
            "[postgres]\nulr = \"postgres://u:hunter2@h/d\"",
            "[postgres]\nurl = \"postgres://u:hunter2@h/d",
            "[[source]]\nuse = \"x\"\ntoken = \"hunter2\"",
            "[[source]]\nuse = \"x\"\ntoken = { hunter2 = \"x\" }",
            "[[source]]\nuse = \"x\"\naccounts = [\n\"1\",\nhunter2\n]",
        ] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && error.contains("line "), "{error}");
        }
    }
}
