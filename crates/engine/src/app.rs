//! The store, the sources and the settings, which every binary builds first.

use anyhow::Context;
use pagemill_queue::{Rabbit, RabbitConfig};
use pagemill_store::{Store, StoreConfig};

use crate::{
    config::{Config, ConsumerSettings},
    error::SourceError,
    sources::{self, ResolvedSource, Sources},
};

/// A config brought to life: PostgreSQL connected, schema checked, sources ready.
#[derive(Clone)]
pub struct App {
    /// PostgreSQL.
    pub store: Store,
    /// The report platforms.
    pub sources: Sources,
    /// How pages are worked on.
    pub settings: std::sync::Arc<ConsumerSettings>,
}

/// Connections of a process beside those of its writers: slots, checks, heartbeats.
const SPARE_CONNECTIONS: usize = 3;

impl App {
    /// Connects and checks; `migrate` brings the schema up to date instead of refusing one that is
    /// behind.
    ///
    /// # Errors
    /// A config, source, PostgreSQL or schema that cannot be used.
    pub async fn build(config: Config, resolved: &[ResolvedSource], migrate: bool) -> anyhow::Result<Self> {
        let connections = config.consumer.writers as usize + SPARE_CONNECTIONS;
        let store = Store::connect(&StoreConfig {
            url: config.postgres.url.clone(),
            schema: config.postgres.schema.clone(),
            connections,
        })
        .await?;
        Self::with_store(store, config.consumer, resolved, migrate).await
    }

    /// Builds the app over a store that is connected already.
    ///
    /// # Errors
    /// As [`App::build`].
    pub async fn with_store(
        store: Store,
        settings: ConsumerSettings,
        resolved: &[ResolvedSource],
        migrate: bool,
    ) -> anyhow::Result<Self> {
        let sources = Sources::build(resolved, &store)?;
        if migrate {
            store.migrate(&sources.tables()).await?;
        } else {
            store.check_schema(&sources.tables()).await?;
        }
        sources.check_tokens().await?;
        Ok(Self { store, sources, settings: settings.into() })
    }
}

/// Connects to the broker and declares the queues of all sources.
///
/// # Errors
/// [`pagemill_queue::QueueError`] naming the place and the remedy.
pub async fn connect_queue(config: &Config, resolved: &[ResolvedSource]) -> anyhow::Result<Rabbit> {
    Rabbit::connect(RabbitConfig {
        url: config.amqp.url.clone(),
        sources: resolved.iter().map(|r| r.name().to_owned()).collect(),
        retry: config.consumer.retry.clone(),
    })
    .await
    .context("cannot use the queue")
}

/// Reads the definitions that the config names.
///
/// # Errors
/// [`SourceError`]
pub fn resolve(config: &Config) -> Result<Vec<ResolvedSource>, SourceError> {
    sources::resolve(&config.sources)
}
