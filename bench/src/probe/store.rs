//! Pages written into PostgreSQL.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream::FuturesUnordered};
use pagemill_core::{FetchedPage, PageJob, Rows};
use pagemill_store::{Applied, PageWrite, Proving, Store, StoreConfig, compress};
use secrecy::ExposeSecret;

use super::{
    Probe, Probed,
    context::{Context, WRITERS, store_config},
};
use crate::servers::connect;

const BATCH: usize = 20;
/// Time in which a seal must be made.
const APPLY_AT_MOST: Duration = Duration::from_secs(600);

impl Context {
    pub(super) async fn store(&self, probe: Probe) -> anyhow::Result<Probed> {
        let partition = self.partition().await?;
        let job = self.job(partition);
        let now = self.store.clock().await?.now();
        let write = |(job, page): (PageJob, FetchedPage)| {
            let body = (probe != Probe::Ledger).then(|| compress(&page.body));
            let write = PageWrite::new(&self.table, job, page, now, body);
            if probe == Probe::Ledger { PageWrite { rows: Rows::default(), ..write } } else { write }
        };
        let pages: Vec<_> = self.fetched(job, self.pages).await?.into_iter().map(write).collect();
        let rows = pages.iter().map(|page| page.key_hashes.len() as u64).sum();
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
                    let written = store.pages.write(&table, &batch).await?;
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
            let proving = self.store.seals.prove(partition, Some(&self.table), 0).await?;
            anyhow::ensure!(matches!(proving, Some(Proving::Ended(_))), "no proof");
            let applied = self.store.seals.apply(&self.table, partition, APPLY_AT_MOST).await?;
            anyhow::ensure!(matches!(applied, Some(Applied::Sealed(_))), "no seal");
        }
        Ok(self.probed(begun, rows, false))
    }

    pub(super) async fn copy(&self) -> anyhow::Result<Probed> {
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
}
