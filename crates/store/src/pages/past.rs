//! What came before a partition, as far as it saves work; the table has the last word.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_postgres::Row;

/// What came before a partition at its slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Past {
    /// Nothing: its rows can be copied in. Where one is there after all, COPY says so, and the fenced
    /// upsert takes over.
    Nothing,
    /// Something, or it is a part of a slice.
    Other,
}

/// Follows `returning …, ` of a query on `pagemill.partitions p`: the column of [`Past::from_row`].
pub(crate) const PAST: &str = "p.parent is null and not exists (select from pagemill.partitions o \
        where (o.source, o.stream, o.account, o.from_date, o.to_date) = (p.source, p.stream, p.account, p.from_date, p.to_date) \
          and o.parent is null and o.id <> p.id) as first_pull";

/// Partitions remembered; beyond, all are forgotten and learnt again, at the price of one upsert each.
const MOST: usize = 10_000;

/// What came before partitions, as far as is known. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Pasts {
    known: Arc<Mutex<HashMap<i64, Past>>>,
    copies: bool,
}

impl Past {
    /// From the column of [`PAST`].
    pub(crate) fn from_row(row: &Row) -> Self {
        if row.get("first_pull") { Self::Nothing } else { Self::Other }
    }
}

impl Pasts {
    /// Nothing is known yet. `copies`: true if the database can COPY.
    pub(crate) fn new(copies: bool) -> Self {
        Self { known: Arc::default(), copies }
    }

    /// As new, over the same database.
    pub(crate) fn restarted(&self) -> Self {
        Self::new(self.copies)
    }

    /// What came before a partition, as far as is known.
    pub(crate) fn of(&self, partition: i64) -> Past {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&partition).copied().unwrap_or(Past::Other)
    }

    /// Notes what came before partitions. Where something was found once, `Nothing` is no longer true.
    pub(crate) fn note(&self, partitions: impl IntoIterator<Item = (i64, Past)>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        for (partition, past) in partitions {
            let past = if self.copies || past != Past::Nothing { past } else { Past::Other };
            known
                .entry(partition)
                .and_modify(|before| {
                    if past != Past::Nothing {
                        *before = past;
                    }
                })
                .or_insert(past);
        }
    }
}
