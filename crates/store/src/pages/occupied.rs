//! Partitions of which rows were in the table already, as far as that saves work; the table has the last word.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

/// Partitions remembered; beyond, all are forgotten and learnt again, at the price of one failed COPY each.
const MOST: usize = 10_000;

/// Partitions into which rows cannot be copied: a closed attempt, or a page of this one, left some of them. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Occupied {
    partitions: Arc<Mutex<HashSet<i64>>>,
}

impl Occupied {
    /// True if a COPY into one of these partitions has failed.
    pub(super) fn any(&self, mut partitions: impl Iterator<Item = i64>) -> bool {
        let known = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        partitions.any(|partition| known.contains(&partition))
    }

    /// Notes partitions of which a COPY has failed.
    pub(super) fn note(&self, partitions: impl Iterator<Item = i64>) {
        let mut known = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.extend(partitions);
    }
}
