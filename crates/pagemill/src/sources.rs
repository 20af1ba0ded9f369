//! The sources of a config, ready to work: definition, client, quota, tables.

use std::{collections::HashMap, sync::Arc};

use jiff::tz::TimeZone;
use pagemill_core::TimeOfDay;
use pagemill_source::{Client, Credential, Definition, Paging};
use pagemill_store::{DataTable, Store, StreamRules};

use crate::{
    config::{ConfigError, SourceConfig},
    quota::Quota,
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
    /// Proves who asks.
    pub credential: Option<Credential>,
    /// Its quota, shared with all replicas.
    pub quota: Quota,
    /// The data table of each stream pulled.
    pub tables: HashMap<String, DataTable>,
    /// The streams pulled, in the config's order.
    pub streams: Vec<String>,
    /// The accounts pulled.
    pub accounts: Vec<String>,
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
    for config in configs {
        let error = |what: String| SourceError { name: config.definition.clone(), what };
        let definition = Definition::load(&config.definition, config.overrides.clone())
            .map_err(|e| error(e.to_string()))?;
        if resolved.iter().any(|r| r.definition.name() == definition.name()) {
            return Err(error("named twice: give it all its streams and accounts in one [[source]]".into()));
        }
        let streams = if config.streams.is_empty() {
            definition.streams().map(|s| s.name().to_owned()).collect()
        } else {
            config.streams.clone()
        };
        for stream in &streams {
            definition.stream(stream).map_err(|e| error(e.to_string()))?;
        }
        if definition.needs_token() && config.token.is_none() {
            return Err(error(
                "its API wants a token: add token = { env = \"…\" } or { file = \"…\" }".into(),
            ));
        }
        let zone = TimeZone::get(definition.time_zone()).map_err(|e| error(e.to_string()))?;
        resolved.push(Resolved { config: config.clone(), definition: Arc::new(definition), streams, zone });
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
                    window: stream.window(),
                    deletes_missing: stream.deletes_missing(),
                };
                Ok((name.clone(), table.ruled(rules).read_by(stream.meaning())))
            })
            .collect()
    }

    fn build(&self, store: &Store) -> Result<Source, anyhow::Error> {
        let error = |what: String| SourceError { name: self.name().to_owned(), what };
        let token = self.config.token.as_ref().map(|t| t.read()).transpose()?;
        if self.config.accounts.is_empty() {
            return Err(error("no accounts: add accounts = [\"…\"]".into()).into());
        }
        Ok(Source {
            client: Client::new(self.definition.clone()).map_err(|e| error(e.to_string()))?,
            credential: token.map(Credential::from),
            quota: Quota::new(store.clone(), self.name(), self.definition.rate().sustained()),
            tables: self.tables(store)?,
            streams: self.streams.clone(),
            accounts: self.config.accounts.clone(),
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
