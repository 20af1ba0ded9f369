//! The database of a command: a server, or the embedded one in a directory.

use std::path::{Path, PathBuf};

use crate::{args::ConfigArg, built_in};
use clap::Args;
use pagemill_engine::{
    config::{Config, DEFAULT_PATH},
    error::UsageError,
};
use pagemill_store::{Store, StoreConfig};
use secrecy::SecretString;

/// Directory of the embedded database without --data-dir.
pub(crate) const DATA_DIR: &str = "pagemill-data";
/// Connections of a command that only looks.
const CONNECTIONS: usize = 2;

#[derive(Args, Clone, Debug)]
pub(crate) struct DatabaseArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// The embedded database in this directory [default for `run`: ./pagemill-data]
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "postgres")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A PostgreSQL server, instead of the config's
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) postgres: Option<SecretString>,
}

/// A database opened, and what must live as long as it is used.
pub(crate) struct Database {
    pub(crate) store: Store,
    pub(crate) config: Config,
    pub(crate) place: Place,
}

/// Where a database is.
pub(crate) enum Place {
    /// A server.
    Server,
    /// In this process, kept in a directory.
    #[cfg(feature = "embedded")]
    Embedded(Box<crate::embedded::Embedded>),
}

impl DatabaseArgs {
    /// The database that the flags, the config or the directory at hand point to.
    pub(crate) async fn open(&self) -> anyhow::Result<Database> {
        let config = self.config()?;
        if self.postgres.is_some() {
            return self.server(config).await;
        }
        if let Some(dir) = &self.data_dir {
            return open_embedded(dir, config).await;
        }
        if self.names_server() {
            return self.server(config).await;
        }
        if Path::new(DATA_DIR).is_dir() {
            return open_embedded(Path::new(DATA_DIR), config).await;
        }
        let what = format!(
            "no database: there is neither {DEFAULT_PATH} nor ./{DATA_DIR} here. Name one with --config, --data-dir or --postgres, \
             or start with `pagemill run`"
        );
        Err(UsageError(what).into())
    }

    /// The config that the flags name, the one at hand, or the defaults.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        Ok(if self.has_config() { self.config.read()? } else { Config::from_environment()? })
    }

    /// True if a config is named, or at hand. One at hand does not count beside a named directory.
    pub(crate) fn has_config(&self) -> bool {
        self.config.config.is_some() || (self.data_dir.is_none() && Path::new(DEFAULT_PATH).exists())
    }

    /// True if config or environment name a server, which is then used unless a flag names another database.
    fn names_server(&self) -> bool {
        self.config.config.is_some()
            || Path::new(DEFAULT_PATH).exists()
            || std::env::var_os("PAGEMILL_POSTGRES_URL").is_some()
    }

    /// Where a database is, for people; and the flags by which the next command finds it again from here.
    pub(crate) fn describe(&self, database: &Database) -> (String, String) {
        match &database.place {
            Place::Server => (database.store.place().to_owned(), String::new()),
            #[cfg(feature = "embedded")]
            Place::Embedded(embedded) => {
                let dir = embedded.dir();
                let found_anyway = dir == Path::new(DATA_DIR) && !self.names_server();
                let flags = (!found_anyway).then(|| format!("--data-dir {} ", dir.display()));
                (dir.display().to_string(), flags.unwrap_or_default())
            }
        }
    }

    /// The server that the flags or the config name.
    pub(crate) async fn server(&self, mut config: Config) -> anyhow::Result<Database> {
        if let Some(url) = &self.postgres {
            config.postgres.url = url.clone();
        }
        let store = Store::connect(&StoreConfig {
            url: config.postgres.url.clone(),
            schema: config.postgres.schema.clone(),
            connections: CONNECTIONS + config.consumer.writers as usize,
        })
        .await?;
        Ok(Database { store, config, place: Place::Server })
    }
}

#[cfg(feature = "embedded")]
pub(crate) async fn open_embedded(dir: &Path, config: Config) -> anyhow::Result<Database> {
    let (embedded, store) = crate::embedded::open(dir, &config.postgres.schema).await?;
    Ok(Database { store, config, place: Place::Embedded(Box::new(embedded)) })
}

#[cfg(not(feature = "embedded"))]
pub(crate) async fn open_embedded(_: &Path, _: Config) -> anyhow::Result<Database> {
    Err(UsageError("this build has no embedded database: name a server with --postgres or --config".into())
        .into())
}

impl Database {
    /// Adds the built-in source where the config names none: `pagemill run` pulls it without a config.
    pub(crate) fn or_built_in(mut self) -> Self {
        if self.config.sources.is_empty() {
            self.config.sources = vec![built_in::source("http://localhost")];
        }
        self
    }

    /// True if the database lives in this process, with all of its work.
    pub(crate) fn is_embedded(&self) -> bool {
        !matches!(self.place, Place::Server)
    }

    /// Closes the database.
    pub(crate) async fn close(self) {
        self.store.close();
        match self.place {
            Place::Server => {}
            #[cfg(feature = "embedded")]
            Place::Embedded(embedded) => embedded.close(self.store).await,
        }
    }
}
