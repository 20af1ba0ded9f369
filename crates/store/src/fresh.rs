//! Which partitions are the first of their slice: their rows can be copied in, since nothing is in
//! their place. Only a guess that saves work: where a row is there after all, COPY says so, and the
//! fenced upsert takes over.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Follows `returning …, ` of a query on `pagemill.partitions p`: whether no other attempt at the
/// slice is known, and it is no part of one.
pub(crate) const FRESH: &str = "p.parent is null and not exists (select from pagemill.partitions o \
    where (o.source, o.stream, o.account, o.from_date, o.to_date) = (p.source, p.stream, p.account, p.from_date, p.to_date) \
      and o.parent is null and o.id <> p.id)";

/// Partitions remembered; beyond, all are forgotten and learnt again, at the price of one upsert each.
const MOST: usize = 10_000;

/// What is known of partitions. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Fresh {
    known: Option<Arc<Mutex<HashMap<i64, bool>>>>,
}

impl Fresh {
    /// Nothing is known yet; where `copies` is false nothing ever will be.
    pub(crate) fn new(copies: bool) -> Self {
        Self { known: copies.then(Arc::default) }
    }

    /// Whether a partition's rows are new, as far as is known.
    pub(crate) fn is(&self, partition: i64) -> bool {
        self.known.as_ref().is_some_and(|known| {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(&partition).copied().unwrap_or(false)
        })
    }

    /// Notes partitions as fresh or not. What was once not stays so.
    pub(crate) fn note(&self, partitions: impl IntoIterator<Item = (i64, bool)>) {
        let Some(known) = &self.known else { return };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        for (partition, fresh) in partitions {
            let before = known.entry(partition).or_insert(fresh);
            *before &= fresh;
        }
    }
}
