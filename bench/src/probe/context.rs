use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use pagemill_core::{Lane, PageJob, Slice, WriteMode};
use pagemill_engine::{app, config::Config};
use pagemill_source::Client;
use pagemill_store::{DataTable, NewPartition, RunPlanRequest, Store, StoreConfig};

use super::Probed;
use crate::{
    measurement::{Cpu, Meter},
    proc,
    servers::Servers,
    world::{ACCOUNT, DAY, STREAM},
};

/// Transactions at a time.
pub(super) const WRITERS: usize = 3;

/// What a probe works with.
pub(super) struct Context {
    pub(super) servers: Servers,
    pub(super) config: Config,
    pub(super) client: Client,
    pub(super) api: String,
    pub(super) store: Store,
    pub(super) table: DataTable,
    pub(super) source: String,
    pub(super) pages: u32,
}

impl Context {
    pub(super) async fn open(config: &Path, pages: u32) -> anyhow::Result<Self> {
        let config = Config::read(config)?;
        let resolved = app::resolve(&config)?;
        let source = resolved.first().context("a source")?;
        let store = Store::connect(&store_config(&config)).await?;
        let table = source.tables(&store)?.remove(STREAM).context("the stream's table")?;
        let definition = Arc::new(pagemill_source::Definition::load(
            &config.sources[0].definition,
            config.sources[0].overrides.clone(),
        )?);
        Ok(Self {
            servers: Servers::from_environment()?,
            client: Client::new(definition.clone())?,
            api: definition.base_url().to_string(),
            source: source.name().to_owned(),
            store,
            table,
            config,
            pages,
        })
    }

    /// CPU of this process is counted from here; the result of the meter is completed by `probed`.
    pub(super) fn begin(&self) -> (Meter<'_>, f64) {
        (Meter::start(&self.servers, Some(&self.api)), own_cpu())
    }

    pub(super) fn probed(&self, (meter, before): (Meter<'_>, f64), rows: u64, tells_memory: bool) -> Probed {
        let (seconds, cpu) = meter.read();
        let cpu = Cpu { program: Some(own_cpu() - before), ..cpu };
        let peak_rss = tells_memory.then(|| proc::peak_rss(std::process::id())).flatten();
        Probed { seconds, rows, cpu, peak_rss }
    }

    pub(super) fn slice(&self) -> Slice {
        let day = DAY.parse().expect("a constant day");
        Slice {
            source: self.source.clone(),
            stream: STREAM.to_owned(),
            account: ACCOUNT.to_owned(),
            from: day,
            to: day,
            part: Default::default(),
        }
    }

    pub(super) fn job(&self, partition: i64) -> PageJob {
        PageJob {
            v: PageJob::VERSION,
            partition,
            run: 1,
            slice: self.slice(),
            page: 1,
            page_size: 100,
            generation: 0,
            attempt: 0,
            lane: Lane::High,
            cursor: None,
            write_mode: WriteMode::Direct,
            baseline: None,
        }
    }

    /// Opens a partition for all pages.
    pub(super) async fn partition(&self) -> anyhow::Result<i64> {
        let wanted = NewPartition {
            row_account: self.slice().account,
            date_scope: "within",
            slice: self.slice(),
            lane: Lane::High,
            page_size: 100,
            subset: None,
            chained: false,
            due_if_requested_before: None,
        };
        let requested = serde_json::json!({ "bench": "upsert" });
        let request = RunPlanRequest { requested, again: true, owner: "bench".into() };
        let planned = self.store.runs.plan(&request, &[wanted]).await?;
        Ok(planned.open.first().context("a partition")?.partition.id)
    }
}

pub(super) fn store_config(config: &Config) -> StoreConfig {
    let pagemill_engine::config::Postgres { url, schema } = &config.postgres;
    StoreConfig { url: url.clone(), schema: schema.clone(), connections: WRITERS }
}

fn own_cpu() -> f64 {
    proc::stat(std::process::id()).map_or(0.0, |stat| stat.own)
}
