use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use pagemill_core::Lane;

use super::waiting::Waiting;
use crate::{dead_letter::DeadLetter, depth::Depth, message::Message};

/// All sources of a queue.
#[derive(Debug, Default)]
pub(super) struct State(Mutex<HashMap<String, Arc<Source>>>);

/// One source's queues.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pages: Waiting,
    low: Waiting,
    retry: AtomicU64,
    dead: Mutex<VecDeque<DeadLetter>>,
    /// Held through a pass over the dead letters.
    pub(super) sweeping: tokio::sync::Mutex<()>,
}

impl State {
    pub(super) fn source(&self, name: &str) -> Arc<Source> {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = sources.get(name) {
            return source.clone();
        }
        let source = Arc::new(Source {
            name: name.to_owned(),
            pages: Waiting::default(),
            low: Waiting::default(),
            retry: AtomicU64::default(),
            dead: Mutex::default(),
            sweeping: tokio::sync::Mutex::default(),
        });
        sources.insert(name.to_owned(), source.clone());
        source
    }
}

impl Source {
    pub(super) fn lane(&self, lane: Lane) -> &Waiting {
        match lane {
            Lane::High => &self.pages,
            Lane::Low => &self.low,
        }
    }

    pub(super) fn depth(&self) -> Depth {
        Depth {
            pages: self.pages.len(),
            low: self.low.len(),
            retry: self.retry.load(Ordering::Relaxed),
            dead: self.dead_count() as u64,
            consumers: self.pages.subscriptions() + self.low.subscriptions(),
        }
    }

    pub(super) fn retry_begins(&self) {
        self.retry.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn retry_ends(&self) {
        self.retry.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn dead_letter(&self, message: Message) {
        let Message { id, body, note } = message;
        self.keep(DeadLetter { id, body, note, broker_reason: None });
    }

    /// Puts a letter at the tail.
    pub(super) fn keep(&self, letter: DeadLetter) {
        self.dead().push_back(letter);
    }

    pub(super) fn dead_count(&self) -> usize {
        self.dead().len()
    }

    /// Copies of the letters at the head.
    pub(super) fn first_dead(&self, count: usize) -> Vec<DeadLetter> {
        self.dead().iter().take(count).cloned().collect()
    }

    /// Takes letters off the head.
    pub(super) fn forget_dead(&self, count: usize) {
        self.dead().drain(..count);
    }

    fn dead(&self) -> std::sync::MutexGuard<'_, VecDeque<DeadLetter>> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
