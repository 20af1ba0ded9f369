//! Pages of the attempts that others stand on, by which an unchanged response is known.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use pagemill_core::BodyDigest;
use tokio::sync::OnceCell;

use super::Pages;
use crate::error::StoreError;

/// Attempts whose digests are remembered.
const MOST_ATTEMPTS: usize = 16;

/// A page of an attempt whose rows stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandingPage {
    /// Digest of its response body, without its request id.
    pub body_digest: BodyDigest,
    /// The number of rows.
    pub rows: u32,
}

/// By page.
type ByPage = HashMap<u32, StandingPage>;

/// Pages of attempts that others stand on, kept in memory. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct StandingPages {
    attempts: Arc<Mutex<HashMap<i64, Arc<OnceCell<ByPage>>>>>,
}

impl StandingPages {
    fn of(&self, attempt: i64) -> Arc<OnceCell<ByPage>> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.len() >= MOST_ATTEMPTS && !attempts.contains_key(&attempt) {
            attempts.clear();
        }
        attempts.entry(attempt).or_default().clone()
    }
}

impl Pages {
    /// A page of an attempt that others stand on. Each attempt is read from the ledger once.
    pub async fn standing_page(&self, attempt: i64, page: u32) -> Result<Option<StandingPage>, StoreError> {
        let known = self.standing_pages.of(attempt);
        let pages = known.get_or_try_init(|| self.read_standing(attempt)).await?;
        Ok(pages.get(&page).copied())
    }

    async fn read_standing(&self, attempt: i64) -> Result<ByPage, StoreError> {
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
            (number("page"), StandingPage { body_digest, rows: number("rows") })
        };
        Ok(rows.iter().map(page).collect())
    }
}
