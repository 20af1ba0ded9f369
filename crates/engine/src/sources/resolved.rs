//! The sources of a config with their definitions, before any connection is made.

use std::{collections::HashMap, sync::Arc};

use jiff::tz::TimeZone;
use pagemill_core::TimeOfDay;
use pagemill_source::{Client, Definition, Paging};
use pagemill_store::{DataTable, Store, StreamRules};

use crate::{
    config::{Accounts, CredentialConfig, DEFAULT_CREDENTIAL, SourceConfig},
    credentials::{Authorization, SOLE_ACCOUNT, missing_token},
    error::SourceError,
};

/// A source of the config and its definition.
pub struct ResolvedSource {
    pub(super) config: SourceConfig,
    pub(super) definition: Arc<Definition>,
    pub(super) streams: Vec<String>,
    pub(super) zone: TimeZone,
}

/// Reads the definitions that a config names.
///
/// # Errors
/// [`SourceError`] naming the source and what is wrong with it.
pub fn resolve(configs: &[SourceConfig]) -> Result<Vec<ResolvedSource>, SourceError> {
    let mut resolved: Vec<ResolvedSource> = Vec::new();
    for config in configs {
        let source = ResolvedSource::read(config)?;
        if resolved.iter().any(|other| other.name() == source.name()) {
            let what = "named twice: give it all its streams and accounts in one [[source]]";
            return Err(SourceError::new(&config.definition, what));
        }
        resolved.push(source);
    }
    Ok(resolved)
}

impl ResolvedSource {
    fn read(config: &SourceConfig) -> Result<Self, SourceError> {
        let error = |what: String| SourceError::new(&config.definition, what);
        let definition = Definition::load(&config.definition, config.overrides.clone())
            .map_err(|e| error(e.to_string()))?;
        let mut config = config.clone();
        if !definition.names_accounts() && config.credentials.is_empty() {
            let sole = || Accounts::List(vec![SOLE_ACCOUNT.to_owned()]);
            config.credential.accounts.get_or_insert_with(sole);
        }
        let streams = if config.streams.is_empty() {
            definition.streams().map(|s| s.name().to_owned()).collect()
        } else {
            config.streams.clone()
        };
        for stream in &streams {
            definition.stream(stream).map_err(|e| error(e.to_string()))?;
        }
        let has_token = |credential: &CredentialConfig| {
            credential.token.is_some() || (definition.refreshes_tokens() && credential.app_id.is_some())
        };
        if definition.needs_token() && !config.credentials().map_err(error)?.iter().all(has_token) {
            return Err(error(missing_token(&definition)));
        }
        let zone = TimeZone::get(definition.time_zone()).map_err(|e| error(e.to_string()))?;
        Ok(Self { config, definition: Arc::new(definition), streams, zone })
    }

    /// The source's name.
    pub fn name(&self) -> &str {
        self.definition.name()
    }

    /// The source's definition.
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
        let table = |name: &String| Ok((name.clone(), self.table(store, name)?));
        self.streams.iter().map(table).collect()
    }

    fn table(&self, store: &Store, name: &str) -> Result<DataTable, SourceError> {
        let stream = self.definition.stream(name).map_err(|e| self.error(e.to_string()))?;
        let table = DataTable::new(store.schema(), self.name(), name, stream.table_shape())
            .map_err(|e| self.error(e.to_string()))?;
        let rules = StreamRules {
            chained: stream.paging() != Paging::Numbered,
            sums: stream.sums().to_vec(),
            window: stream.max_result_window(),
            keeps_missing: stream.keeps_missing(),
            drops_outside: stream.drops_outside(),
            monthly: stream.is_monthly(),
        };
        Ok(table.ruled(rules).decoded_by(stream.decode_hash()))
    }

    /// The authorization flow of one of its credentials.
    ///
    /// # Errors
    /// [`SourceError`] for a credential that is not there, or has no app.
    pub fn authorization(&self, credential: Option<&str>) -> anyhow::Result<Authorization> {
        if !self.definition.refreshes_tokens() {
            return Err(self.error("its tokens come from the config: nobody grants them").into());
        }
        let all = self.config.credentials().map_err(|what| self.error(what))?;
        let config = match (credential, &all[..]) {
            (None, [only]) => only,
            (name, _) => {
                let name = name.unwrap_or(DEFAULT_CREDENTIAL);
                let known = || all.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
                all.iter().find(|c| c.name == name).ok_or_else(|| {
                    self.error(format!("no credential {name}: name one with --credential ({})", known()))
                })?
            }
        };
        Authorization::new(self.client()?, self.name(), config)
    }

    pub(super) fn client(&self) -> Result<Client, SourceError> {
        Client::new(self.definition.clone()).map_err(|e| self.error(e.to_string()))
    }

    pub(super) fn error(&self, what: impl Into<String>) -> SourceError {
        SourceError::new(self.name(), what)
    }
}
