//! What an answer says about itself: code, message, request id, total, and where its rows are.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Form, Lenient, Leniently, read_all, rows::RowsDecoder};
use crate::{
    trie::{Clash, ROOT, Step, Trie},
    value::text_of,
};

/// Where an answer keeps what.
#[derive(Debug)]
pub(crate) struct AnswerPlan {
    trie: Trie,
    rows: usize,
    /// Leaves of each field, by [`Field`]: the first that is there counts.
    fields: [Vec<usize>; 4],
}

/// What an answer says beside its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    Code,
    Message,
    RequestId,
    Total,
}

/// What an answer said about itself.
#[derive(Debug, Default)]
pub(crate) struct Envelope<'de> {
    pub(crate) code: Option<Cow<'de, str>>,
    pub(crate) message: Option<Cow<'de, str>>,
    pub(crate) request_id: Option<Cow<'de, str>>,
    pub(crate) total: Option<Cow<'de, str>>,
}

impl AnswerPlan {
    /// A plan that finds the rows at a path.
    pub(crate) fn new(rows: &str) -> Result<Self, Clash> {
        let mut trie = Trie::default();
        let rows = trie.insert(rows)?;
        Ok(Self { trie, rows, fields: Default::default() })
    }

    /// Adds a path at which a field may be.
    pub(crate) fn add(&mut self, field: Field, path: &str) -> Result<(), Clash> {
        let leaf = self.trie.insert(path)?;
        if leaf == self.rows {
            return Err(Clash);
        }
        self.fields[field as usize].push(leaf);
        Ok(())
    }
}

/// Reads an answer; the rows go to the decoder, if there is one.
pub(super) fn read<'de>(
    plan: &AnswerPlan,
    rows: Option<&mut RowsDecoder<'_, 'de>>,
    text: &'de str,
) -> Result<Envelope<'de>, serde_json::Error> {
    let mut found = vec![None; plan.trie.leaves()];
    read_all(text, Object { plan, node: ROOT, found: &mut found, rows })?;
    let first = |field: Field| {
        let present = |&leaf: &usize| found[leaf].filter(|raw: &&str| *raw != "null");
        plan.fields[field as usize].iter().find_map(present).and_then(text_of)
    };
    Ok(Envelope {
        code: first(Field::Code),
        message: first(Field::Message).filter(|m| !m.is_empty()),
        request_id: first(Field::RequestId).filter(|id| !id.is_empty()),
        total: first(Field::Total),
    })
}

/// An object on the way to something wanted.
struct Object<'a, 'p, 'de> {
    plan: &'a AnswerPlan,
    node: usize,
    found: &'a mut Vec<Option<&'de str>>,
    rows: Option<&'a mut RowsDecoder<'p, 'de>>,
}

impl<'de> Lenient<'de> for Object<'_, '_, 'de> {
    type Out = ();

    fn other(self, _: Form) {}

    fn map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(step) = map.next_key_seed(Key { trie: &self.plan.trie, node: self.node })? {
            match (step, self.rows.as_deref_mut()) {
                (Step::Skip, _) => drop(map.next_value::<IgnoredAny>()?),
                (Step::Inner(node), rows) => {
                    let inner = Object { plan: self.plan, node, found: &mut *self.found, rows };
                    map.next_value_seed(Leniently::new(inner))?;
                }
                (Step::Leaf(leaf), Some(rows)) if leaf == self.plan.rows => {
                    map.next_value_seed(Leniently::new(rows))?;
                }
                (Step::Leaf(leaf), _) => self.found[leaf] = Some(map.next_value::<&RawValue>()?.get()),
            }
        }
        Ok(())
    }
}

/// A key, looked up.
struct Key<'a> {
    trie: &'a Trie,
    node: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Step;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Step, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Step;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Step, E> {
        Ok(self.trie.step(self.node, key))
    }
}
