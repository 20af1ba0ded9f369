//! Rows read by the parser: any that are written as JSON.

use rust_decimal::Decimal;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    keys::NextKey,
    lenient::{Form, Lenient, Leniently, read_all},
    row_plan::SumsPlan,
    rows::RowsDecoder,
};
use crate::{
    json_paths::{ROOT, Step},
    value::{Reader, text_of},
};

/// Decodes the API's own sums of additive columns from their object, in the plan's order; none if it is no object.
pub(crate) fn sums(plan: &SumsPlan, reader: &Reader, raw: &str) -> Vec<Option<Decimal>> {
    let mut decoder = RowsDecoder::new(&plan.row, reader, 1, true);
    if read_all(raw, &mut decoder).is_err() || decoder.len == 0 {
        return Vec::new();
    }
    let text = |leaves: &Vec<usize>| leaves.iter().find_map(|&leaf| decoder.raw[leaf].and_then(text_of));
    plan.leaves.iter().map(|leaves| reader.numeric(text(leaves)?.trim())).collect()
}

/// The array of rows.
impl<'de> Lenient<'de> for &mut RowsDecoder<'_, 'de> {
    type Out = ();

    fn other(self, form: Form) {
        self.begin();
        self.found = form == Form::Null;
    }

    fn map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.begin();
        self.found = self.single_row;
        if self.single_row {
            self.raw.fill(None);
            self.object(ROOT, map)?;
            self.row(true);
            return Ok(());
        }
        IgnoredAny.visit_map(map).map(drop)
    }

    fn seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.begin();
        self.found = !self.single_row;
        while self.problem.is_none() && !self.single_row {
            if self.len == self.most {
                if seq.next_element::<IgnoredAny>()?.is_some() {
                    self.problem = Some(format!("more than {} rows on one page", self.most));
                }
                break;
            }
            self.raw.fill(None);
            match seq.next_element_seed(Leniently::new(Row(&mut *self)))? {
                None => return Ok(()),
                Some(is_row) => self.row(is_row),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// A row; whether it is an object.
pub(super) struct Row<'a, 'p, 'de>(pub(super) &'a mut RowsDecoder<'p, 'de>);

impl<'de> Lenient<'de> for Row<'_, '_, 'de> {
    type Out = bool;

    fn other(self, _: Form) -> bool {
        false
    }

    fn map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        self.0.object(ROOT, map).map(|()| true)
    }

    fn seq<A: SeqAccess<'de>>(self, seq: A) -> Result<bool, A::Error> {
        let wanted = self.0.plan.json_paths.place(ROOT, 0).is_some();
        self.0.array(ROOT, seq).map(|()| wanted)
    }
}

/// An object within a row.
struct Inside<'a, 'p, 'de> {
    rows: &'a mut RowsDecoder<'p, 'de>,
    node: usize,
}

impl<'de> Lenient<'de> for Inside<'_, '_, 'de> {
    type Out = ();

    fn other(self, _: Form) {}

    fn map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.rows.object(self.node, map)
    }

    fn seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        self.rows.array(self.node, seq)
    }
}

impl<'de> RowsDecoder<'_, 'de> {
    /// Reads an object of a row.
    fn object<A: MapAccess<'de>>(&mut self, node: usize, mut map: A) -> Result<(), A::Error> {
        let mut at = 0;
        loop {
            let (order, seen) = (&mut self.orders[node], &mut self.seen);
            let key = NextKey { json_paths: &self.plan.json_paths, node, order, seen, at };
            let Some(step) = map.next_key_seed(key)? else {
                return Ok(());
            };
            match step {
                Step::Skip if self.values.is_some() => self.note(map.next_value::<&RawValue>()?.get(), None),
                Step::Skip => drop(map.next_value::<IgnoredAny>()?),
                Step::Inner(node) => {
                    map.next_value_seed(Leniently::new(Inside { rows: &mut *self, node }))?
                }
                Step::Leaf(leaf) => self.note(map.next_value::<&RawValue>()?.get(), Some(leaf)),
                Step::Both(leaf, node) => self.both(leaf, node, map.next_value::<&RawValue>()?.get())?,
            }
            at += 1;
        }
    }

    /// Reads a wanted value with something wanted inside.
    fn both<E: Error>(&mut self, leaf: u32, node: u32, raw: &'de str) -> Result<(), E> {
        self.values = None;
        self.raw[leaf as usize] = Some(raw);
        read_all(raw, Inside { rows: self, node: node as usize }).map_err(E::custom)
    }

    /// Reads an array within a row, or a row that is one.
    fn array<A: SeqAccess<'de>>(&mut self, node: usize, mut seq: A) -> Result<(), A::Error> {
        for place in 0.. {
            let step = self.plan.json_paths.place(node, place);
            let more = match step {
                None | Some(Step::Skip) if self.values.is_some() => {
                    let raw = seq.next_element::<&RawValue>()?;
                    raw.map(|raw| self.note(raw.get(), None)).is_some()
                }
                None | Some(Step::Skip) => seq.next_element::<IgnoredAny>()?.is_some(),
                Some(Step::Inner(node)) => {
                    seq.next_element_seed(Leniently::new(Inside { rows: &mut *self, node }))?.is_some()
                }
                Some(step @ (Step::Leaf(_) | Step::Both(..))) => match seq.next_element::<&RawValue>()? {
                    None => false,
                    Some(raw) => {
                        self.seen.note(node, "", step);
                        match step {
                            Step::Both(leaf, node) => self.both(leaf, node, raw.get())?,
                            Step::Leaf(leaf) => self.note(raw.get(), Some(leaf)),
                            Step::Skip | Step::Inner(_) => {}
                        }
                        true
                    }
                },
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// Takes a row that was read, or says what is wrong with it.
    fn row(&mut self, is_row: bool) {
        if is_row {
            self.end_row();
        } else {
            self.problem = Some(format!("row {} is no object", self.len + 1));
        }
    }
}
