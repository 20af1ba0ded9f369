//! What an answer says about itself: code, message, request id, total, and where its rows are.

use std::{borrow::Cow, ops::Range};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Form, Lenient, Leniently, alike::place, read_all, rows::RowsDecoder};
use crate::{
    trie::{Clash, ROOT, Step, Trie},
    value::text_of,
};

/// Where an answer keeps what.
#[derive(Debug)]
pub(crate) struct AnswerPlan {
    trie: Trie,
    rows: RowsPlace,
    /// Whether the rows' place holds the only row itself.
    pub(crate) one: bool,
    /// Leaves of each field, by [`Field`]: the first that is there counts.
    fields: [Vec<usize>; Field::COUNT],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowsPlace {
    Nowhere,
    /// `$`
    Whole,
    Leaf(usize),
}

/// What an answer says beside its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    Code,
    Message,
    RequestId,
    Total,
    /// There on failures only.
    Error,
    /// An array, of the parts that failed.
    Failures,
    /// An object.
    Sums,
    /// Cursor or link of the next page.
    Next,
    /// Whether there is a next page.
    More,
    TaskId,
    TaskState,
    TaskUrl,
}

impl Field {
    const COUNT: usize = 12;
}

/// What an answer said about itself. Texts but for what may be an object or array: raw JSON.
#[derive(Debug, Default)]
pub(crate) struct Envelope<'de> {
    pub(crate) code: Option<Cow<'de, str>>,
    pub(crate) message: Option<Cow<'de, str>>,
    pub(crate) request_id: Option<Cow<'de, str>>,
    pub(crate) total: Option<Cow<'de, str>>,
    pub(crate) error: Option<&'de str>,
    pub(crate) failures: Option<&'de str>,
    pub(crate) sums: Option<&'de str>,
    pub(crate) next: Option<Cow<'de, str>>,
    pub(crate) more: Option<&'de str>,
    pub(crate) task_id: Option<Cow<'de, str>>,
    pub(crate) task_state: Option<Cow<'de, str>>,
    pub(crate) task_url: Option<Cow<'de, str>>,
}

impl AnswerPlan {
    /// A plan that finds the rows at a path, if there are any; `one`: the only row itself.
    pub(crate) fn new(rows: Option<&str>, one: bool) -> Result<Self, Clash> {
        let mut trie = Trie::default();
        let rows = match rows {
            None => RowsPlace::Nowhere,
            Some("$") => RowsPlace::Whole,
            Some(path) => RowsPlace::Leaf(trie.insert(path)?),
        };
        Ok(Self { trie, rows, one, fields: Default::default() })
    }

    /// Adds a path at which a field may be.
    pub(crate) fn add(&mut self, field: Field, path: &str) -> Result<(), Clash> {
        let leaf = self.trie.insert(path)?;
        if RowsPlace::Leaf(leaf) == self.rows {
            return Err(Clash);
        }
        self.fields[field as usize].push(leaf);
        Ok(())
    }
}

/// Reads an answer; the rows go to the decoder, if there is one.
pub(super) fn read<'de>(
    plan: &AnswerPlan,
    mut rows: Option<&mut RowsDecoder<'_, 'de>>,
    text: &'de str,
) -> Result<Envelope<'de>, serde_json::Error> {
    let mut found = read_fields(plan, reborrow(&mut rows), text);
    if let (Some(rows), Err(_)) = (rows, &found) {
        found = match rows.stopped().and_then(|span| read_around(plan, text, span)) {
            Some(found) => Ok(found),
            None => {
                rows.plainly();
                read_fields(plan, Some(rows), text)
            }
        };
    }
    let found = found?;
    let raw = |field: Field| {
        let present = |&leaf: &usize| found[leaf].filter(|raw: &&str| *raw != "null");
        plan.fields[field as usize].iter().find_map(present)
    };
    let text = |field| raw(field).and_then(text_of);
    let filled = |field| text(field).filter(|text| !text.is_empty());
    Ok(Envelope {
        code: text(Field::Code),
        message: filled(Field::Message),
        request_id: filled(Field::RequestId),
        total: text(Field::Total),
        error: raw(Field::Error).filter(|raw| !is_empty(raw)),
        failures: raw(Field::Failures).filter(|raw| !is_empty(raw)),
        sums: raw(Field::Sums),
        next: filled(Field::Next),
        more: raw(Field::More).filter(|raw| *raw != "false"),
        task_id: filled(Field::TaskId),
        task_state: text(Field::TaskState),
        task_url: filled(Field::TaskUrl),
    })
}

/// The raw fields by their leaves.
fn read_fields<'de>(
    plan: &AnswerPlan,
    rows: Option<&mut RowsDecoder<'_, 'de>>,
    text: &'de str,
) -> Result<Vec<Option<&'de str>>, serde_json::Error> {
    let mut found = vec![None; plan.trie.leaves()];
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

/// The same where the rows have been read already; `None` if there are others beside them, or the rest is
/// no JSON.
fn read_around<'de>(plan: &AnswerPlan, text: &'de str, rows: Range<usize>) -> Option<Vec<Option<&'de str>>> {
    let rest = [&text[..rows.start], &text[rows.end..]].concat();
    let found = read_fields(plan, None, &rest).ok()?;
    let holds_them = |raw: &str| {
        let start = place(&rest, raw);
        (start..start + raw.len()).contains(&rows.start)
    };
    if let RowsPlace::Leaf(leaf) = plan.rows
        && !found[leaf].is_some_and(holds_them)
    {
        return None;
    }
    let in_text = |at: usize| if at > rows.start { at + rows.len() } else { at };
    let whole = |raw: &str| {
        let start = place(&rest, raw);
        &text[in_text(start)..in_text(start + raw.len())]
    };
    Some(found.iter().map(|raw| raw.map(whole)).collect())
}

/// Whether a raw value says nothing: some APIs send an empty error with every answer.
fn is_empty(raw: &str) -> bool {
    matches!(raw, "\"\"" | "false")
        || matches!(raw.as_bytes(), [b'[', inner @ .., b']'] | [b'{', inner @ .., b'}'] if inner.trim_ascii().is_empty())
}

/// An object on the way to something wanted.
struct Object<'a, 'p, 'de> {
    plan: &'a AnswerPlan,
    node: usize,
    found: &'a mut Vec<Option<&'de str>>,
    rows: Option<&'a mut RowsDecoder<'p, 'de>>,
}

impl<'p, 'de> Object<'_, 'p, 'de> {
    fn inner(&mut self, node: usize) -> Object<'_, 'p, 'de> {
        Object { plan: self.plan, node, found: &mut *self.found, rows: reborrow(&mut self.rows) }
    }

    /// What to do with the value that a step leads to.
    fn take<E: Error>(&mut self, step: Step, raw: &'de str) -> Result<(), E> {
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
        while let Some(step) = map.next_key_seed(Key { trie: &self.plan.trie, node: self.node })? {
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
            let step = self.plan.trie.place(self.node, place);
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
