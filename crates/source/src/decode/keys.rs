//! The keys of a row's objects: what each leads to, and which of them there were.

use std::{borrow::Cow, collections::BTreeSet};

use serde::de::{DeserializeSeed, Deserializer, Visitor};

use crate::json_paths::{JsonPaths, Step};

/// No more fields that no column takes are named.
const MOST_UNMAPPED: usize = 256;

/// A row's key: the one that stood here in the previous row, or looked up.
pub(super) struct NextKey<'a, 'de> {
    pub(super) json_paths: &'a JsonPaths,
    pub(super) node: usize,
    pub(super) order: &'a mut Vec<(&'de str, Step)>,
    pub(super) seen: &'a mut Seen<'de>,
    pub(super) at: usize,
}

impl<'de> DeserializeSeed<'de> for NextKey<'_, 'de> {
    type Value = Step;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Step, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NextKey<'_, 'de> {
    type Value = Step;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Step, E> {
        if let Some((expected, step)) = self.order.get(self.at)
            && *expected == key
        {
            return Ok(*step);
        }
        let step = self.json_paths.step(self.node, key);
        self.seen.note(self.node, key, step);
        match self.order.get_mut(self.at) {
            Some(expected) => *expected = (key, step),
            None => self.order.push((key, step)),
        }
        Ok(step)
    }

    fn visit_str<E>(self, key: &str) -> Result<Step, E> {
        let step = self.json_paths.step(self.node, key);
        self.seen.note(self.node, key.to_owned(), step);
        Ok(step)
    }
}

/// Which fields rows had. Only a key that stands elsewhere than in the row before is looked at.
#[derive(Debug, Default)]
pub(super) struct Seen<'de> {
    /// By leaf of the paths.
    pub(super) leaves: Vec<bool>,
    /// Node and key.
    pub(super) unmapped: BTreeSet<(usize, Cow<'de, str>)>,
}

impl<'de> Seen<'de> {
    pub(super) fn note(&mut self, node: usize, key: impl Into<Cow<'de, str>>, step: Step) {
        match step {
            Step::Skip if self.unmapped.len() < MOST_UNMAPPED => {
                self.unmapped.insert((node, key.into()));
            }
            Step::Skip | Step::Inner(_) => {}
            Step::Leaf(leaf) => self.leaves[leaf] = true,
            Step::Both(leaf, _) => self.leaves[leaf as usize] = true,
        }
    }
}
