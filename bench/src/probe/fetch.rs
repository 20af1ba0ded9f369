//! Pages fetched, and what is computed of them.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use anyhow::bail;
use futures_util::{StreamExt, stream::FuturesUnordered};
use pagemill_core::{FetchedPage, PageJob};
use pagemill_source::{Client, Fetch};
use pagemill_store::{PageWrite, compress};

use super::{Probed, context::Context};
use crate::world::TOKEN;

const IN_FLIGHT: usize = 8;
/// Enough pages for a limit that one core alone shows.
const SOME: u32 = 2_000;

impl Context {
    pub(super) async fn fetch(&self) -> anyhow::Result<Probed> {
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

    pub(super) async fn prove(&self) -> anyhow::Result<Probed> {
        let (pages, now) = (self.some_pages().await?, self.store.clock().await?.now());
        let begun = self.begin();
        let rows =
            pages.into_iter().map(|(job, page)| PageWrite::new(&self.table, job, page, now, None).rows.len());
        let rows: usize = rows.sum();
        Ok(self.probed(begun, rows as u64, false))
    }

    pub(super) async fn compress(&self) -> anyhow::Result<Probed> {
        let pages = self.some_pages().await?;
        let begun = self.begin();
        let bytes: usize = pages.iter().map(|(_, page)| compress(&page.body).len()).sum();
        anyhow::ensure!(bytes > 0, "nothing was compressed");
        let rows = pages.iter().map(|(_, page)| page.rows.len() as u64).sum();
        Ok(self.probed(begun, rows, false))
    }

    /// As many pages as show what one costs.
    pub(super) async fn some_pages(&self) -> anyhow::Result<Vec<(PageJob, FetchedPage)>> {
        self.fetched(self.job(0), self.pages.min(SOME)).await
    }

    pub(super) async fn fetched(
        &self,
        job: PageJob,
        pages: u32,
    ) -> anyhow::Result<Vec<(PageJob, FetchedPage)>> {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        each_page(self.client.clone(), job, pages, move |job, page| drop(sender.send((job, page)))).await?;
        let mut fetched = Vec::new();
        while let Some(page) = receiver.recv().await {
            fetched.push(page);
        }
        Ok(fetched)
    }
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
