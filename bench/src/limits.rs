//! The limits that no program of this kind can pass, each alone. A limit runs in a process of its own
//! (`pagemill-bench probe`), so that it is measured as the contestants are.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream::FuturesUnordered};
use pagemill_core::{FetchedPage, Lane, PageJob, Rows, Slice};
use pagemill_engine::{app, config::Config};
use pagemill_queue::{Address, Message, PageQueue, Rabbit, RabbitConfig};
use pagemill_source::{Client, Fetch};
use pagemill_store::{DataTable, NewPartition, PageWrite, RunRequest, Sealing, Store, StoreConfig, compress};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::{
    figures::{Cpu, Meter, Run},
    proc,
    servers::{Servers, connect},
    world::{ACCOUNT, DAY, STREAM, TOKEN},
};

/// Requests in flight, and transactions at a time.
const IN_FLIGHT: usize = 8;
const WRITERS: usize = 3;
const BATCH: usize = 20;
const PREFETCH: u16 = 250;
/// Pages of a limit that one core alone tells.
const SOME: u32 = 2_000;

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Probe {
    /// Pages fetched and decoded into typed columns, 8 in flight
    Fetch,
    /// What the proof wants of a page: hashes of keys and rows, sums, blank columns
    Prove,
    /// Answers compressed
    Compress,
    /// Pages in memory written by the collector's transaction, 3 at a time: a first pull, copied in
    Store,
    /// The same where rows may be in the way
    Upsert,
    /// The same without rows and answers: what the ledger costs
    Ledger,
    /// A partition sealed: keys counted, totals compared, hashes added up
    Seal,
    /// The table that `store` filled copied into one of the same columns and key, 1 connection
    Copy,
    /// Jobs published and confirmed
    Publish,
    /// Jobs delivered and acked
    Consume,
}

/// `pagemill-bench probe`
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ProbeArgs {
    pub(crate) probe: Probe,
    /// A config as for `pagemill`, its database migrated
    #[arg(long)]
    pub(crate) config: std::path::PathBuf,
    /// Pages, or jobs
    #[arg(long)]
    pub(crate) count: u32,
}

/// What a probe prints.
#[derive(Serialize, Deserialize)]
struct Probed {
    seconds: f64,
    rows: u64,
    cpu: Cpu,
    peak_rss: Option<u64>,
}

impl Probe {
    pub(crate) const ALL: [Self; 10] = [
        Self::Fetch,
        Self::Prove,
        Self::Compress,
        Self::Store,
        Self::Upsert,
        Self::Ledger,
        Self::Seal,
        Self::Copy,
        Self::Publish,
        Self::Consume,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Fetch => "limit: fetch and decode alone",
            Self::Prove => "limit: hashes and sums alone",
            Self::Compress => "limit: compression alone",
            Self::Store => "limit: a first pull stored from memory",
            Self::Upsert => "limit: upsert alone",
            Self::Ledger => "limit: ledger alone",
            Self::Seal => "limit: seal alone",
            Self::Copy => "limit: COPY alone",
            Self::Publish => "limit: publish alone (jobs)",
            Self::Consume => "limit: consume and ack alone (jobs)",
        }
    }
}

/// What the probe's process said.
pub(crate) fn read(name: &str, round: u32, pages: u64, said: &str) -> anyhow::Result<Run> {
    let line = said.lines().last().context("the probe said nothing")?;
    let Probed { seconds, rows, cpu, peak_rss } = serde_json::from_str(line).context(line.to_owned())?;
    Ok(Run {
        name: name.to_owned(),
        round,
        seconds,
        publish_seconds: None,
        rows,
        pages,
        cpu,
        peak_rss,
        processes: 1,
    })
}

/// Measures one limit, and prints the figures.
pub(crate) async fn run(args: &ProbeArgs) -> anyhow::Result<()> {
    let at = Place::open(args).await?;
    let probed = match args.probe {
        Probe::Fetch => at.fetch().await,
        Probe::Prove => at.prove().await,
        Probe::Compress => at.compress().await,
        Probe::Store | Probe::Upsert | Probe::Ledger | Probe::Seal => at.store(args.probe).await,
        Probe::Copy => at.copy().await,
        Probe::Publish => at.publish().await,
        Probe::Consume => at.consume().await,
    }?;
    println!("{}", serde_json::to_string(&probed)?);
    Ok(())
}

/// Where a probe works.
struct Place {
    servers: Servers,
    config: Config,
    client: Client,
    api: String,
    store: Store,
    table: DataTable,
    source: String,
    pages: u32,
}

impl Place {
    async fn open(args: &ProbeArgs) -> anyhow::Result<Self> {
        let config = Config::read(&args.config)?;
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
            pages: args.count,
        })
    }

    /// CPU of this process is counted from here; the result of the meter is completed by `probed`.
    fn begin(&self) -> (Meter<'_>, f64) {
        (Meter::start(&self.servers, Some(&self.api)), own_cpu())
    }

    fn probed(&self, (meter, before): (Meter<'_>, f64), rows: u64, tells_memory: bool) -> Probed {
        let (seconds, cpu) = meter.read();
        let cpu = Cpu { program: Some(own_cpu() - before), ..cpu };
        let peak_rss = tells_memory.then(|| proc::peak_rss(std::process::id())).flatten();
        Probed { seconds, rows, cpu, peak_rss }
    }

    async fn fetch(&self) -> anyhow::Result<Probed> {
        let begun = self.begin();
        let rows = Arc::new(AtomicU64::new(0));
        let counted = rows.clone();
        each_page(self.client.clone(), self.job(0), self.pages, move |_, page| {
            counted.fetch_add(page.rows.len() as u64, Ordering::Relaxed);
        })
        .await?;
        let rows = rows.load(Ordering::Relaxed);
        Ok(self.probed(begun, rows, true))
    }

    async fn prove(&self) -> anyhow::Result<Probed> {
        let (pages, now) = (self.some_pages().await?, self.store.clock().await?.now());
        let begun = self.begin();
        let rows =
            pages.into_iter().map(|(job, page)| PageWrite::new(&self.table, job, page, now, None).rows.len());
        let rows: usize = rows.sum();
        Ok(self.probed(begun, rows as u64, false))
    }

    async fn compress(&self) -> anyhow::Result<Probed> {
        let pages = self.some_pages().await?;
        let begun = self.begin();
        let bytes: usize = pages.iter().map(|(_, page)| compress(&page.body).len()).sum();
        anyhow::ensure!(bytes > 0, "nothing was compressed");
        let rows = pages.iter().map(|(_, page)| page.rows.len() as u64).sum();
        Ok(self.probed(begun, rows, false))
    }

    /// As many pages as show what one costs.
    async fn some_pages(&self) -> anyhow::Result<Vec<(PageJob, FetchedPage)>> {
        self.fetched(self.job(0), self.pages.min(SOME)).await
    }

    async fn fetched(&self, job: PageJob, pages: u32) -> anyhow::Result<Vec<(PageJob, FetchedPage)>> {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        each_page(self.client.clone(), job, pages, move |job, page| drop(sender.send((job, page)))).await?;
        let mut fetched = Vec::new();
        while let Some(page) = receiver.recv().await {
            fetched.push(page);
        }
        Ok(fetched)
    }

    async fn store(&self, probe: Probe) -> anyhow::Result<Probed> {
        let partition = self.partition().await?;
        let job = self.job(partition);
        let now = self.store.clock().await?.now();
        let write = |(job, page): (PageJob, FetchedPage)| {
            let body = (probe != Probe::Ledger).then(|| compress(&page.body));
            let write = PageWrite::new(&self.table, job, page, now, body);
            if probe == Probe::Ledger { PageWrite { rows: Rows::default(), ..write } } else { write }
        };
        let pages: Vec<_> = self.fetched(job, self.pages).await?.into_iter().map(write).collect();
        let rows = pages.iter().map(|page| page.keys.len() as u64).sum();
        let mut batches: Vec<Vec<PageWrite>> = Vec::new();
        for page in pages {
            match batches.last_mut() {
                Some(batch) if batch.len() < BATCH => batch.push(page),
                _ => batches.push(vec![page]),
            }
        }
        let batches = Arc::new(std::sync::Mutex::new(batches));
        // A store of one connection, as the embedded database has it, does not copy.
        let connections = if probe == Probe::Upsert { 1 } else { WRITERS };
        let mut stores = Vec::new();
        for _ in 0..WRITERS / connections {
            stores.push(Store::connect(&StoreConfig { connections, ..store_config(&self.config) }).await?);
        }
        let mut begun = self.begin();
        let writers = (0..WRITERS).map(|n| {
            let store = stores[n % stores.len()].clone();
            let (batches, table) = (batches.clone(), self.table.clone());
            tokio::spawn(async move {
                loop {
                    let next = batches.lock().map(|mut batches| batches.pop()).ok().flatten();
                    let Some(batch) = next else { return anyhow::Ok(()) };
                    let written = store.write(&table, &batch).await?;
                    anyhow::ensure!(written.stored.iter().all(|stored| *stored), "a page was refused");
                }
            })
        });
        let mut writers: FuturesUnordered<_> = writers.collect();
        while let Some(ended) = writers.next().await {
            ended??;
        }
        if probe == Probe::Seal {
            begun = self.begin();
            anyhow::ensure!(
                matches!(self.store.seal(partition, Some(&self.table), 0).await?, Some(Sealing::Closed(_))),
                "no seal"
            );
        }
        Ok(self.probed(begun, rows, false))
    }

    async fn copy(&self) -> anyhow::Result<Probed> {
        let db = connect(self.config.postgres.url.expose_secret()).await?;
        let table = self.table.name().to_owned();
        db.batch_execute(&format!(
            "drop table if exists copied; create table copied (like {table} including all); checkpoint"
        ))
        .await?;
        let out = db.copy_out(&format!("copy {table} to stdout (format binary)")).await?;
        let chunks: Vec<Bytes> = out.try_collect().await?;
        let begun = self.begin();
        let sink = db.copy_in("copy copied from stdin (format binary)").await?;
        tokio::pin!(sink);
        for chunk in chunks {
            sink.feed(chunk).await?;
        }
        let rows = sink.finish().await?;
        Ok(self.probed(begun, rows, false))
    }

    async fn queue(&self) -> anyhow::Result<Rabbit> {
        let config = RabbitConfig {
            url: self.config.amqp.url.clone(),
            sources: vec![self.source.clone()],
            retry: self.config.consumer.retry_delays.clone(),
        };
        Ok(Rabbit::connect(config).await?)
    }

    async fn publish(&self) -> anyhow::Result<Probed> {
        let queue = self.queue().await?;
        let job = self.job(20_260_100_000_001);
        let to = Address::Lane { source: self.source.clone(), lane: Lane::Pages };
        let messages = (1..=self.pages).map(|page| {
            let job = job.at(page, 0);
            Message { id: job.id(), body: job.encode(), note: None }
        });
        let begun = self.begin();
        queue.publish(&to, messages).await?;
        let probed = self.probed(begun, u64::from(self.pages), true);
        queue.close().await;
        Ok(probed)
    }

    async fn consume(&self) -> anyhow::Result<Probed> {
        let queue = self.queue().await?;
        let begun = self.begin();
        let mut deliveries = queue.subscribe(&self.source, Lane::Pages, PREFETCH).await?;
        let mut acking = FuturesUnordered::new();
        for _ in 0..self.pages {
            let delivery = deliveries.next().await.context("the subscription ended")?;
            acking.push(delivery.ack());
            if acking.len() >= usize::from(PREFETCH) / 2 {
                acking.next().await.transpose()?;
            }
        }
        while acking.try_next().await?.is_some() {}
        let probed = self.probed(begun, u64::from(self.pages), true);
        deliveries.close().await;
        queue.close().await;
        Ok(probed)
    }

    fn slice(&self) -> Slice {
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

    fn job(&self, partition: i64) -> PageJob {
        PageJob {
            v: PageJob::VERSION,
            partition,
            run: 1,
            slice: self.slice(),
            page: 1,
            page_size: 100,
            generation: 0,
            attempt: 0,
            lane: Lane::Pages,
            cursor: None,
            stands_on: None,
        }
    }

    /// Opens a partition for all pages.
    async fn partition(&self) -> anyhow::Result<i64> {
        let wanted = NewPartition {
            slice: self.slice(),
            lane: Lane::Pages,
            page_size: 100,
            subset: None,
            chained: false,
            due_if_sealed_before: None,
        };
        let asked = serde_json::json!({ "bench": "upsert" });
        let request = RunRequest { asked, again: true, owner: "bench".into() };
        let planned = self.store.plan(&request, &[wanted]).await?;
        Ok(planned.open.first().context("a partition")?.partition.id)
    }
}

fn store_config(config: &Config) -> StoreConfig {
    let pagemill_engine::config::Postgres { url, schema } = &config.postgres;
    StoreConfig { url: url.clone(), schema: schema.clone(), connections: WRITERS }
}

/// Fetches every page, so many in flight.
async fn each_page(
    client: Client,
    job: PageJob,
    pages: u32,
    done: impl Fn(PageJob, FetchedPage) + Clone + Send + 'static,
) -> anyhow::Result<()> {
    let next = Arc::new(AtomicU32::new(1));
    let fetchers = (0..IN_FLIGHT).map(|_| {
        let (client, job, next, done) = (client.clone(), job.clone(), next.clone(), done.clone());
        tokio::spawn(async move {
            let token = TOKEN.into();
            loop {
                let page = next.fetch_add(1, Ordering::Relaxed);
                if page > pages {
                    return anyhow::Ok(());
                }
                let job = job.at(page, 0);
                match client.fetch(&job, Some(&token)).await {
                    Ok(Fetch::Page(page)) => done(job, *page),
                    Ok(other) => bail!("page {page}: {other:?}"),
                    Err(failure) => bail!("page {page}: {}", failure.message),
                }
            }
        })
    });
    let mut fetchers: FuturesUnordered<_> = fetchers.collect();
    while let Some(ended) = fetchers.next().await {
        ended??;
    }
    Ok(())
}

fn own_cpu() -> f64 {
    proc::stat(std::process::id()).map_or(0.0, |stat| stat.own)
}
