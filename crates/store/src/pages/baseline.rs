//! Pages of baselines: by their digests an unchanged response is known, by their row hashes an unchanged row.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use deadpool_postgres::Object;
use pagemill_core::BodyDigest;
use tokio::sync::OnceCell;

use super::Pages;
use crate::{error::StoreError, page_write::PageWrite};

/// Attempts whose digests are remembered.
const MOST_ATTEMPTS: usize = 16;

/// A page of a baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaselinePage {
    /// Digest of its response body, without its request id.
    pub body_digest: BodyDigest,
    /// The number of rows.
    pub rows: u32,
}

/// By page.
type ByPage = HashMap<u32, BaselinePage>;

/// Pages of baselines, kept in memory. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct BaselinePages {
    attempts: Arc<Mutex<HashMap<i64, Arc<OnceCell<ByPage>>>>>,
}

impl BaselinePages {
    fn of(&self, attempt: i64) -> Arc<OnceCell<ByPage>> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.len() >= MOST_ATTEMPTS && !attempts.contains_key(&attempt) {
            attempts.clear();
        }
        attempts.entry(attempt).or_default().clone()
    }
}

impl Pages {
    /// A page of a baseline. Each baseline is read from the ledger once.
    pub async fn baseline_page(&self, attempt: i64, page: u32) -> Result<Option<BaselinePage>, StoreError> {
        let known = self.baseline_pages.of(attempt);
        let pages = known.get_or_try_init(|| self.read_baseline(attempt)).await?;
        Ok(pages.get(&page).copied())
    }

    async fn read_baseline(&self, attempt: i64) -> Result<ByPage, StoreError> {
        let client = self.database.client().await?;
        let rows = client
            .query(
                "select page, rows, body_digest, body_digest_before, body_digest_after from pagemill.pages \
                 where partition = $1 and state = 'done' and body_digest is not null",
                &[&attempt],
            )
            .await?;
        let page = |row: &tokio_postgres::Row| {
            let number = |name| row.get::<_, i32>(name) as u32;
            let body_digest = BodyDigest {
                hash: row.get("body_digest"),
                before: number("body_digest_before"),
                after: number("body_digest_after"),
            };
            (number("page"), BaselinePage { body_digest, rows: number("rows") })
        };
        Ok(rows.iter().map(page).collect())
    }
}

/// Hashes of the rows that a baseline has on some pages.
#[derive(Default)]
pub(super) struct BaselineHashes {
    pages: HashMap<(i64, u32), Vec<i64>>,
}

impl BaselineHashes {
    /// What these pages are compared with: the same page of their baseline, and its neighbours, since a row that comes or
    /// goes moves all that follow.
    pub(super) async fn read(client: &Object, pages: &[&PageWrite]) -> Result<Self, StoreError> {
        let wanted: HashSet<(i64, i32)> = pages
            .iter()
            .filter_map(|write| Some((write.job.baseline?, write.job.page as i32)))
            .flat_map(|(baseline, page)| [page - 1, page, page + 1].map(|page| (baseline, page)))
            .collect();
        if wanted.is_empty() {
            return Ok(Self::default());
        }
        let (baselines, numbers): (Vec<i64>, Vec<i32>) = wanted.into_iter().unzip();
        let statement = client.prepare_cached(HASHES).await?;
        let rows = client.query(&statement, &[&baselines, &numbers]).await?;
        let page = |row: &tokio_postgres::Row| {
            let at = (row.get("partition"), row.get::<_, i32>("page") as u32);
            (at, row.get::<_, Option<Vec<i64>>>("row_hashes").unwrap_or_default())
        };
        Ok(Self { pages: rows.iter().map(page).collect() })
    }

    /// The hashes of rows that need not be staged if this page has them.
    pub(super) fn near(&self, write: &PageWrite) -> HashSet<i64> {
        let Some(baseline) = write.job.baseline else { return HashSet::new() };
        let page = write.job.page;
        let near =
            [page - 1, page, page + 1].into_iter().filter_map(|page| self.pages.get(&(baseline, page)));
        near.flatten().copied().collect()
    }
}

const HASHES: &str = "select g.partition, g.page, g.row_hashes from unnest($1::bigint[], $2::int[]) as u(partition, page) \
    join pagemill.pages g on g.partition = u.partition and g.page = u.page where g.state = 'done'";
