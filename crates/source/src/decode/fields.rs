//! The raw fields of a response, read by the parser.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    envelope_plan::{EnvelopePlan, RowsPlace},
    lenient::{Form, Lenient, Leniently, read_all},
    rows::RowsDecoder,
};
use crate::json_paths::{JsonPaths, ROOT, Step};

/// Reads the raw fields by their leaves; the rows go to the decoder, if there is one.
pub(super) fn read<'de>(
    plan: &EnvelopePlan,
    rows: Option<&mut RowsDecoder<'_, 'de>>,
    text: &'de str,
) -> Result<Vec<Option<&'de str>>, serde_json::Error> {
    let mut found = vec![None; plan.json_paths.leaves()];
    match (plan.rows, rows) {
        (RowsPlace::Whole, Some(rows)) => {
            read_all(text, rows)?;
            if !found.is_empty() {
                read_all(text, Object { plan, node: ROOT, found: &mut found, rows: None })?;
            }
        }
        (_, rows) => read_all(text, Object { plan, node: ROOT, found: &mut found, rows })?,
    }
    Ok(found)
}

/// An object on the way to something wanted.
pub(super) struct Object<'a, 'p, 'de> {
    pub(super) plan: &'a EnvelopePlan,
    pub(super) node: usize,
    pub(super) found: &'a mut Vec<Option<&'de str>>,
    pub(super) rows: Option<&'a mut RowsDecoder<'p, 'de>>,
}

impl<'p, 'de> Object<'_, 'p, 'de> {
    fn inner(&mut self, node: usize) -> Object<'_, 'p, 'de> {
        Object { plan: self.plan, node, found: &mut *self.found, rows: reborrow(&mut self.rows) }
    }

    /// What to do with the value that a step leads to.
    pub(super) fn take<E: Error>(&mut self, step: Step, raw: &'de str) -> Result<(), E> {
        let (leaf, node) = match step {
            Step::Leaf(leaf) => (leaf, None),
            Step::Both(leaf, node) => (leaf as usize, Some(node as usize)),
            Step::Skip | Step::Inner(_) => return Ok(()),
        };
        match &mut self.rows {
            Some(rows) if RowsPlace::Leaf(leaf) == self.plan.rows => {
                read_all(raw, &mut **rows).map_err(E::custom)?;
            }
            _ => self.found[leaf] = Some(raw),
        }
        match node {
            Some(node) => read_all(raw, self.inner(node)).map_err(E::custom),
            None => Ok(()),
        }
    }
}

fn reborrow<'a, 'p, 'de>(
    rows: &'a mut Option<&mut RowsDecoder<'p, 'de>>,
) -> Option<&'a mut RowsDecoder<'p, 'de>> {
    match rows {
        Some(rows) => Some(&mut **rows),
        None => None,
    }
}

impl<'de> Lenient<'de> for Object<'_, '_, 'de> {
    type Out = ();

    fn other(self, _: Form) {}

    fn map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(step) =
            map.next_key_seed(Key { json_paths: &self.plan.json_paths, node: self.node })?
        {
            match (step, reborrow(&mut self.rows)) {
                (Step::Skip, _) => drop(map.next_value::<IgnoredAny>()?),
                (Step::Inner(node), _) => map.next_value_seed(Leniently::new(self.inner(node)))?,
                (Step::Leaf(leaf), Some(rows)) if RowsPlace::Leaf(leaf) == self.plan.rows => {
                    map.next_value_seed(Leniently::new(rows))?;
                }
                (Step::Leaf(_) | Step::Both(..), _) => {
                    self.take(step, map.next_value::<&RawValue>()?.get())?;
                }
            }
        }
        Ok(())
    }

    fn seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        for place in 0.. {
            let step = self.plan.json_paths.place(self.node, place);
            let more = match (step, reborrow(&mut self.rows)) {
                (None | Some(Step::Skip), _) => seq.next_element::<IgnoredAny>()?.is_some(),
                (Some(Step::Inner(node)), _) => {
                    seq.next_element_seed(Leniently::new(self.inner(node)))?.is_some()
                }
                (Some(Step::Leaf(leaf)), Some(rows)) if RowsPlace::Leaf(leaf) == self.plan.rows => {
                    seq.next_element_seed(Leniently::new(rows))?.is_some()
                }
                (Some(step), _) => match seq.next_element::<&RawValue>()? {
                    Some(raw) => self.take(step, raw.get()).map(|()| true)?,
                    None => false,
                },
            };
            if !more {
                break;
            }
        }
        Ok(())
    }
}

/// A key, looked up.
struct Key<'a> {
    json_paths: &'a JsonPaths,
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
        Ok(self.json_paths.step(self.node, key))
    }
}
