//! The sources of a config, ready to work: definition, client, quota, tables.

use std::{collections::HashMap, sync::Arc};

use jiff::tz::TimeZone;
use pagemill_core::TimeOfDay;
use pagemill_source::{Client, Definition, Paging};
use pagemill_store::{DataTable, Store, StoreError, StreamRules};

use crate::{
    config::{Accounts, ConfigError, CredentialConfig, DEFAULT_CREDENTIAL, SourceConfig},
    credentials::{self, Credentials, Grant, WHOLE},
    quota::Quota,
    times::Times,
};

/// All sources of a config, by name.
#[derive(Clone)]
pub struct Sources(Arc<Vec<Source>>);

/// One source.
pub struct Source {
    /// Its definition.
    pub definition: Arc<Definition>,
    /// Asks its API.
    pub client: Client,
    /// Its quota, shared with all replicas.
    pub quota: Quota,
    /// How long its pages take.
    pub times: Times,
    /// The data table of each stream pulled.
    pub tables: HashMap<String, DataTable>,
    /// The streams pulled, in the config's order.
    pub streams: Vec<String>,
    /// What its requests are proved with, and the accounts that are pulled.
    pub credentials: Credentials,
    /// The zone of its dates.
    pub zone: TimeZone,
    /// When a run's data is needed.
    pub deadline: Option<TimeOfDay>,
}

/// A source of the config cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("source {name}: {what}")]
pub struct SourceError {
    name: String,
    what: String,
}

impl SourceError {
    pub(crate) fn new(name: &str, what: impl Into<String>) -> Self {
        Self { name: name.to_owned(), what: what.into() }
    }
}

/// Definitions resolved from a config, before any connection is made.
pub struct Resolved {
    config: SourceConfig,
    definition: Arc<Definition>,
    streams: Vec<String>,
    zone: TimeZone,
}

/// Reads the definitions that a config names.
///
/// # Errors
/// [`SourceError`] naming the source and what is wrong with it.
pub fn resolve(configs: &[SourceConfig]) -> Result<Vec<Resolved>, SourceError> {
    let mut resolved: Vec<Resolved> = Vec::new();
    for named in configs {
        let error = |what: String| SourceError { name: named.definition.clone(), what };
        let definition =
            Definition::load(&named.definition, named.overrides.clone()).map_err(|e| error(e.to_string()))?;
        if resolved.iter().any(|r| r.definition.name() == definition.name()) {
            return Err(error("named twice: give it all its streams and accounts in one [[source]]".into()));
        }
        let mut config = named.clone();
        if !definition.names_accounts() && config.credentials.is_empty() {
            config.credential.accounts.get_or_insert_with(|| Accounts::List(vec![WHOLE.to_owned()]));
        }
        let streams = if config.streams.is_empty() {
            definition.streams().map(|s| s.name().to_owned()).collect()
        } else {
            config.streams.clone()
        };
        for stream in &streams {
            definition.stream(stream).map_err(|e| error(e.to_string()))?;
        }
        let proved = |credential: &CredentialConfig| {
            credential.token.is_some() || (definition.refreshes_tokens() && credential.app_id.is_some())
        };
        if definition.needs_token() && !config.credentials().map_err(error)?.iter().all(proved) {
            return Err(error(credentials::wanted(&definition)));
        }
        let zone = TimeZone::get(definition.time_zone()).map_err(|e| error(e.to_string()))?;
        resolved.push(Resolved { config, definition: Arc::new(definition), streams, zone });
    }
    Ok(resolved)
}

impl Resolved {
    /// The source's name.
    pub fn name(&self) -> &str {
        self.definition.name()
    }

    /// Its definition.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// When a run's data is needed.
    pub fn deadline(&self) -> Option<&TimeOfDay> {
        self.config.deadline.as_ref()
    }

    /// The data tables of its streams.
    ///
    /// # Errors
    /// [`SourceError`] for a name that cannot name a table.
    pub fn tables(&self, store: &Store) -> Result<HashMap<String, DataTable>, SourceError> {
        self.streams
            .iter()
            .map(|name| {
                let error = |what: String| SourceError { name: self.name().to_owned(), what };
                let stream = self.definition.stream(name).map_err(|e| error(e.to_string()))?;
                let table = DataTable::new(store, self.name(), name, stream.table_shape())
                    .map_err(|e| error(e.to_string()))?;
                let rules = StreamRules {
                    chained: stream.paging() != Paging::Numbered,
                    sums: stream.sums().to_vec(),
                    window: stream.max_result_window(),
                    deletes_missing: stream.deletes_missing(),
                    monthly: stream.is_monthly(),
                };
                Ok((name.clone(), table.ruled(rules).read_by(stream.decode_hash())))
            })
            .collect()
    }

    /// What it takes to have access granted to one of its credentials.
    ///
    /// # Errors
    /// [`SourceError`] for a credential that is not there, or has no app.
    pub fn grant(&self, credential: Option<&str>) -> anyhow::Result<Grant> {
        let error = |what: String| SourceError::new(self.name(), what);
        if !self.definition.refreshes_tokens() {
            return Err(error("its tokens come from the config: nobody grants them".into()).into());
        }
        let all = self.config.credentials().map_err(error)?;
        let there = || all.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
        let config = match (credential, &all[..]) {
            (None, [only]) => only,
            (name, _) => {
                let name = name.unwrap_or(DEFAULT_CREDENTIAL);
                let found = all.iter().find(|c| c.name == name);
                found.ok_or_else(|| {
                    error(format!("no credential {name}: name one with --credential ({})", there()))
                })?
            }
        };
        let client = Client::new(self.definition.clone()).map_err(|e| error(e.to_string()))?;
        Grant::new(client, self.name(), config)
    }

    fn build(&self, store: &Store) -> Result<Source, anyhow::Error> {
        let error = |what: String| SourceError { name: self.name().to_owned(), what };
        let configs = self.config.credentials().map_err(error)?;
        let client = Client::new(self.definition.clone()).map_err(|e| error(e.to_string()))?;
        let credentials = Credentials::new(&self.definition, configs, &client, store)?;
        Ok(Source {
            client,
            quota: Quota::new(store.clone(), &self.definition),
            times: Times::default(),
            tables: self.tables(store)?,
            streams: self.streams.clone(),
            credentials,
            zone: self.zone.clone(),
            deadline: self.config.deadline.clone(),
            definition: self.definition.clone(),
        })
    }
}

impl Sources {
    /// Makes the sources ready.
    ///
    /// # Errors
    /// A missing token, a bad account, a name that cannot name a table.
    pub fn build(resolved: &[Resolved], store: &Store) -> Result<Self, anyhow::Error> {
        if resolved.is_empty() {
            return Err(ConfigError("the config names no [[source]]: there is nothing to pull".into()).into());
        }
        let sources = resolved.iter().map(|r| r.build(store)).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(sources)))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<&Source> {
        self.0.iter().find(|s| s.name() == name)
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|s| s.name().to_owned()).collect()
    }

    /// Finds out before any work whether the tokens stored can be read with this process's key.
    pub(crate) async fn check_tokens(&self) -> Result<(), StoreError> {
        for source in self.iter() {
            source.credentials.check().await?;
        }
        Ok(())
    }

    /// Waits until no token is being bought; see [`Credentials`].
    pub(crate) async fn settle(&self) {
        for source in self.iter() {
            source.credentials.settle().await;
        }
    }

    /// All data tables.
    pub fn tables(&self) -> Vec<DataTable> {
        self.0.iter().flat_map(|s| s.tables.values().cloned()).collect()
    }
}

impl Source {
    /// Its name.
    pub fn name(&self) -> &str {
        self.definition.name()
    }
}
