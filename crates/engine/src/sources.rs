//! The sources of a config, ready to work: definition, client, quota, tables.

mod page_times;
mod resolved;

use std::{collections::HashMap, sync::Arc};

use jiff::tz::TimeZone;
use pagemill_core::TimeOfDay;
use pagemill_source::{Client, Definition};
use pagemill_store::{DataTable, Store, StoreError};

pub use self::{
    page_times::MeasuredTimes,
    resolved::{ResolvedSource, resolve},
};
use crate::{config::ConfigError, credentials::Credentials, quota::Quota};

/// All sources of a config, by name.
#[derive(Clone)]
pub struct Sources(Arc<Vec<Source>>);

/// One source.
pub struct Source {
    /// The definition of the platform.
    pub definition: Arc<Definition>,
    /// Requests its pages.
    pub client: Client,
    /// The quota that all replicas share.
    pub quota: Quota,
    /// Measured times of the source's pages.
    pub times: MeasuredTimes,
    /// The data table of each stream pulled.
    pub tables: HashMap<String, DataTable>,
    /// The streams pulled, in the config's order.
    pub streams: Vec<String>,
    /// The tokens of its requests, and the accounts that are pulled.
    pub credentials: Credentials,
    /// The zone of its dates.
    pub zone: TimeZone,
    /// When a run's data is needed.
    pub deadline: Option<TimeOfDay>,
}

impl Sources {
    /// Makes the sources ready.
    ///
    /// # Errors
    /// A missing token, a bad account, a name that cannot name a table.
    pub fn build(resolved: &[ResolvedSource], store: &Store) -> Result<Self, anyhow::Error> {
        if resolved.is_empty() {
            return Err(ConfigError("the config names no [[source]]: there is nothing to pull".into()).into());
        }
        let sources = resolved.iter().map(|source| Source::build(source, store)).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(sources)))
    }

    /// All sources, in the config's order.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }

    /// The source of a name.
    pub fn get(&self, name: &str) -> Option<&Source> {
        self.0.iter().find(|s| s.name() == name)
    }

    /// The names of all sources.
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

    /// Waits until no token is being refreshed; see [`Credentials`].
    pub(crate) async fn finish_refreshes(&self) {
        for source in self.iter() {
            source.credentials.finish_refreshes().await;
        }
    }

    /// All data tables.
    pub fn tables(&self) -> Vec<DataTable> {
        self.0.iter().flat_map(|s| s.tables.values().cloned()).collect()
    }
}

impl Source {
    fn build(resolved: &ResolvedSource, store: &Store) -> Result<Self, anyhow::Error> {
        let configs = resolved.config.credentials().map_err(|what| resolved.error(what))?;
        let client = resolved.client()?;
        let credentials = Credentials::new(&resolved.definition, configs, &client, store)?;
        Ok(Self {
            client,
            quota: Quota::new(store.clone(), &resolved.definition),
            times: MeasuredTimes::default(),
            tables: resolved.tables(store)?,
            streams: resolved.streams.clone(),
            credentials,
            zone: resolved.zone.clone(),
            deadline: resolved.config.deadline.clone(),
            definition: resolved.definition.clone(),
        })
    }

    /// The source's name.
    pub fn name(&self) -> &str {
        self.definition.name()
    }
}
