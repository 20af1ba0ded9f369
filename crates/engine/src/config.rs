//! `pagemill.toml`: read once in `main`, environment over it, flags over those.

mod credential;
mod source;

use std::{fmt, fs, path::Path};

use pagemill_core::{RetrySchedule, Span};
use secrecy::SecretString;
use serde::Deserialize;
use toml::{Table, Value};

use self::source::{PROBLEM, sources};
pub use self::{
    credential::{Accounts, CredentialConfig, DEFAULT_CREDENTIAL},
    source::{SourceConfig, TokenRef},
};

/// Where the config is looked for unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "pagemill.toml";

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
    pub consumer: Consumer,
    /// The report platforms to pull.
    #[serde(default, rename = "source", deserialize_with = "sources")]
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

/// `[consumer]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Consumer {
    /// Workers of one process: a number, or `"auto"` = from the quota.
    pub workers: Workers,
    /// Attempts of a page before it is dead, the first included.
    pub attempts: u32,
    /// The retry ladder.
    pub retry: Vec<Span>,
    /// How long running pages may go on after the first stop signal.
    pub grace: Span,
    /// The most pages in one transaction.
    pub batch_pages: u32,
    /// Transactions at a time.
    pub writers: u32,
    /// Deliveries held without an ack: a number, or `"auto"` = from the quota.
    pub prefetch: Workers,
    /// A partition that makes no progress for so long, while the queues are empty, is rescued.
    pub rescue: Span,
    /// The most rounds in which pages are fetched again because a partition's proof failed.
    pub repairs: u32,
    /// What is kept of the raw answers.
    pub raw: Raw,
}

/// A number, or from the quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// From the quota, by Little's law.
    Auto,
    /// As many.
    Count(u32),
}

/// What is kept of the raw answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Raw {
    /// The answer once a page, compressed, in `pagemill.responses`.
    Page,
    /// Nothing.
    Off,
}

/// What is wrong with the config: names the file, the key and the line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl Default for Postgres {
    fn default() -> Self {
        Self { url: "postgres://pagemill@localhost/pagemill".into(), schema: "public".into() }
    }
}

impl Default for Amqp {
    fn default() -> Self {
        Self { url: "amqp://guest:guest@localhost:5672/%2f".into() }
    }
}

impl Default for Consumer {
    fn default() -> Self {
        let span = |text: &str| text.parse().expect("a constant span");
        Self {
            workers: Workers::Auto,
            attempts: 5,
            retry: ["1s", "10s", "1m", "10m"].map(span).to_vec(),
            grace: span("20s"),
            batch_pages: 20,
            writers: 3,
            prefetch: Workers::Auto,
            rescue: span("2m"),
            repairs: 3,
            raw: Raw::Page,
        }
    }
}

impl Consumer {
    /// Attempts and delays.
    pub fn schedule(&self) -> RetrySchedule {
        RetrySchedule { attempts: self.attempts, delays: self.retry.clone() }
    }
}

impl Consumer {
    /// The longest rung of the ladder.
    pub fn longest_retry(&self) -> std::time::Duration {
        self.retry.last().map_or(std::time::Duration::ZERO, Span::get)
    }
}

impl Workers {
    /// The number, if one is given.
    pub fn count(self) -> Option<u32> {
        match self {
            Self::Auto => None,
            Self::Count(n) => Some(n),
        }
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Workers;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\" or a whole number from 1 to 2000")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Workers, E> {
                match text {
                    "auto" => Ok(Workers::Auto),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<Workers, E> {
                match u32::try_from(n) {
                    Ok(n @ 1..=2000) => Ok(Workers::Count(n)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Signed(n), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Keys that the environment may set, as `PAGEMILL_<SECTION>_<KEY>`.
const FROM_ENVIRONMENT: [(&str, &[&str]); 3] = [
    ("postgres", &["url", "schema"]),
    ("amqp", &["url"]),
    (
        "consumer",
        &[
            "workers",
            "attempts",
            "retry",
            "grace",
            "batch_pages",
            "writers",
            "prefetch",
            "rescue",
            "repairs",
            "raw",
        ],
    ),
];

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
        config.check_sources(text, path)?;
        let mut table: Table = toml::from_str(text).map_err(error)?;
        let mut overlaid = Vec::new();
        for (section, keys) in FROM_ENVIRONMENT {
            for key in keys {
                let name = format!("PAGEMILL_{}_{}", section.to_uppercase(), key.to_uppercase());
                let Some(value) = environment(&name) else { continue };
                let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(entry) = entry {
                    entry.insert((*key).to_owned(), from_environment(key, &value));
                }
                overlaid.push(name);
            }
        }
        if !overlaid.is_empty() {
            table.remove("source");
            let sources = std::mem::take(&mut config.sources);
            config = table.try_into().map_err(|e: toml::de::Error| {
                ConfigError(format!("{} (set by the environment: {})", e.message(), overlaid.join(", ")))
            })?;
            config.sources = sources;
        }
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let bad =
            |key: &str, what: &str| Err(ConfigError(format!("{}: consumer.{key} {what}", path.display())));
        let c = &self.consumer;
        if c.attempts == 0 {
            return bad("attempts", "must be at least 1");
        }
        if c.retry.is_empty() || c.retry.windows(2).any(|w| w[0].get() >= w[1].get()) {
            return bad("retry", "must be a ladder of growing delays, such as [\"1s\", \"10s\", \"1m\"]");
        }
        if c.batch_pages == 0 || c.writers == 0 {
            return bad("batch_pages and consumer.writers", "must be at least 1");
        }
        Ok(())
    }

    /// The lines of bad `[[source]]` tables, which were taken apart by hand.
    fn check_sources(&self, text: &str, path: &Path) -> Result<(), ConfigError> {
        let Some(problem) = self.sources.iter().find_map(|s| s.overrides.get(PROBLEM)) else { return Ok(()) };
        let (at, what) = (&problem["at"], &problem["what"]);
        let line = text[..at.as_integer().unwrap_or(0) as usize].lines().count() + 1;
        let what = what.as_str().unwrap_or_default();
        Err(ConfigError(format!("{}: [[source]] at line {line}: {what}", path.display())))
    }
}

/// Line, key and what is wrong. The library's own words would show the line, and with it a password.
fn at_line(text: &str, error: &toml::de::Error) -> String {
    let Some(span) = error.span() else { return error.message().to_owned() };
    let start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let number = text[..start].matches('\n').count() + 1;
    let key = text[start..].lines().next().unwrap_or_default().split('=').next().unwrap_or_default().trim();
    let key = if key.is_empty() { String::new() } else { format!(", {key}") };
    format!("line {number}{key}: {}", error.message())
}

fn from_environment(key: &str, text: &str) -> Value {
    match (key, text.parse::<i64>()) {
        ("retry", _) => Value::Array(text.split(',').map(|s| Value::String(s.trim().to_owned())).collect()),
        (_, Ok(n)) => Value::Integer(n),
        (_, Err(_)) => Value::String(text.to_owned()),
    }
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
        assert_eq!(config.consumer.workers, Workers::Count(12));
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
            ("\n[[source]]\naccounts = [\"1\"]", &["line 2", "`use`"]),
            ("\n[[source]]\nuse = \"x\"\naccounts = 7", &["line 2", "`accounts`"]),
            ("\n[[source]]\nuse = \"x\"\ndeadline = 9", &["line 2", "`deadline`"]),
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
            _ => None,
        };
        let text = "[consumer]\nworkers = 3\nattempts = 2\n[[source]]\nuse = \"x\"";
        let config = Config::parse(text, Path::new("pagemill.toml"), environment).unwrap();
        assert_eq!((config.consumer.workers, config.consumer.attempts), (Workers::Count(7), 2));
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
        ] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && error.contains("line "), "{error}");
        }
    }
}
