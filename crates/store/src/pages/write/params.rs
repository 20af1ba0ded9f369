//! A batch's pages as the ledger's statements take them.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;
use xxhash_rust::xxh3::xxh3_64;

use crate::page_write::{Next, PageWrite};

/// The batch's pages as arrays, one element a page.
#[derive(Default)]
pub(super) struct LedgerParams<'a> {
    partitions: Vec<i64>,
    pages: Vec<i32>,
    generations: Vec<i32>,
    first_keys: Vec<i32>,
    rows: Vec<i32>,
    key_hashes: Vec<i64>,
    totals: Vec<Option<i64>>,
    row_hashes: Vec<i64>,
    content_hashes: Vec<i64>,
    request_ids: Vec<Option<&'a str>>,
    requested_at: Vec<Timestamp>,
    cast_failures: Vec<Option<Value>>,
    next: Vec<Option<&'a str>>,
    next_hashes: Vec<Option<i64>>,
    facts: Vec<Option<&'a Value>>,
    digests: Vec<Option<i64>>,
    digests_before: Vec<Option<i32>>,
    digests_after: Vec<Option<i32>>,
    response_partitions: Vec<i64>,
    response_pages: Vec<i32>,
    responses: Vec<&'a [u8]>,
    keeps_response: Vec<bool>,
    baselines: Vec<Option<i64>>,
}

impl<'a> LedgerParams<'a> {
    pub(super) fn new(batch: &[&'a PageWrite]) -> Self {
        let mut p = Self::default();
        for page in batch {
            p.partitions.push(page.job.partition);
            p.pages.push(page.job.page as i32);
            p.generations.push(page.job.generation as i32);
            p.first_keys.push(p.key_hashes.len() as i32 + 1);
            p.rows.push(page.key_hashes.len() as i32);
            p.key_hashes.extend_from_slice(&page.key_hashes);
            p.totals.push(page.total.map(whole));
            p.row_hashes.extend_from_slice(&page.row_hashes);
            p.content_hashes.push(page.row_hashes.iter().copied().fold(0, i64::wrapping_add));
            p.request_ids.push(page.request_id.as_deref());
            p.requested_at.push(page.requested_at);
            p.cast_failures.push((!page.cast_failures.is_empty()).then(|| json!(page.cast_failures)));
            let next = match &page.next {
                Next::Is(next) => Some(next.as_str()),
                Next::Numbered | Next::Last => None,
            };
            p.next.push(next);
            p.next_hashes.push(next.map(|next| xxh3_64(next.as_bytes()) as i64));
            p.facts.push(page.facts.as_ref());
            p.digests.push(page.body_digest.map(|digest| digest.hash));
            p.digests_before.push(page.body_digest.map(|digest| digest.before as i32));
            p.digests_after.push(page.body_digest.map(|digest| digest.after as i32));
            p.keeps_response.push(page.unchanged.is_some_and(|same| same.keeps_response));
            p.baselines.push(page.job.baseline);
            if let Some(body) = &page.body {
                p.response_partitions.push(page.job.partition);
                p.response_pages.push(page.job.page as i32);
                p.responses.push(body);
            }
        }
        p
    }

    pub(super) fn pages(&self) -> [&(dyn ToSql + Sync); 18] {
        [
            &self.partitions,
            &self.pages,
            &self.generations,
            &self.first_keys,
            &self.rows,
            &self.key_hashes,
            &self.totals,
            &self.content_hashes,
            &self.request_ids,
            &self.requested_at,
            &self.cast_failures,
            &self.next,
            &self.next_hashes,
            &self.facts,
            &self.digests,
            &self.digests_before,
            &self.digests_after,
            &self.row_hashes,
        ]
    }

    /// `None` if no response is kept.
    pub(super) fn responses(&self) -> Option<[&(dyn ToSql + Sync); 3]> {
        (!self.responses.is_empty()).then_some([
            &self.response_partitions,
            &self.response_pages,
            &self.responses,
        ])
    }

    /// Parameters of unchanged pages: what is not taken from their earlier page.
    pub(super) fn unchanged(&self) -> [&(dyn ToSql + Sync); 7] {
        [
            &self.partitions,
            &self.pages,
            &self.generations,
            &self.request_ids,
            &self.requested_at,
            &self.keeps_response,
            &self.baselines,
        ]
    }

    /// Pages whose earlier response is reused, or `None` if there are none.
    pub(super) fn unchanged_responses(&self) -> Option<[&(dyn ToSql + Sync); 3]> {
        self.keeps_response.contains(&true).then_some([&self.partitions, &self.pages, &self.keeps_response])
    }
}

/// Newly done pages of each partition, the total that the first of them states, and
/// the page that names no next one.
pub(super) struct CounterParams {
    partitions: Vec<i64>,
    done: Vec<i32>,
    totals: Vec<Option<i64>>,
    ended: Vec<Option<i32>>,
}

impl CounterParams {
    pub(super) fn new(batch: &[&PageWrite], accepted: &[tokio_postgres::Row]) -> Self {
        let new: HashSet<(i64, i32)> = accepted
            .iter()
            .filter(|r| r.get("is_new"))
            .map(|r| (r.get("partition"), r.get("page")))
            .collect();
        let mut counts =
            Self { partitions: Vec::new(), done: Vec::new(), totals: Vec::new(), ended: Vec::new() };
        for page in batch {
            if counts.partitions.last() != Some(&page.job.partition) {
                counts.partitions.push(page.job.partition);
                counts.done.push(0);
                counts.totals.push(page.total.map(whole));
                counts.ended.push(None);
            }
            if page.next == Next::Last {
                *counts.ended.last_mut().expect("pushed above") = Some(page.job.page as i32);
            }
            if new.contains(&(page.job.partition, page.job.page as i32)) {
                *counts.done.last_mut().expect("pushed above") += 1;
            }
        }
        counts
    }

    pub(super) fn params(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.partitions, &self.done, &self.totals, &self.ended]
    }
}

fn whole(total: u64) -> i64 {
    i64::try_from(total).unwrap_or(i64::MAX)
}
