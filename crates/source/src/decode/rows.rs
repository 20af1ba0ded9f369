//! The rows of an answer: each mapped value is kept as raw text until its row ends, then read by
//! its column's type, so that ids and decimals are exact and order and repetition don't matter.

use std::ops::Range;

use pagemill_core::{CastFailure, Column};
use rust_decimal::Decimal;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    Form, Lenient, Leniently,
    alike::{Pattern, next_value, place},
    keys::{NextKey, Seen},
    plan::{ColumnPlan, Origin, RowPlan, SumsPlan},
    read_all,
};
use crate::{
    trie::{ROOT, Step},
    value::{Read, Reader, text_of},
};

/// No value of a row is longer.
const LONGEST_VALUE: usize = 1 << 20;

/// A sample of an unreadable value is cut to this many bytes.
const SAMPLE: usize = 64;

/// The rows of an answer, as far as they came.
#[derive(Debug)]
pub(crate) struct DecodedRows {
    /// Whether there was an array of rows (or a null in its place, which some APIs send for none).
    pub(crate) found: bool,
    /// What is wrong with the rows, if anything.
    pub(crate) problem: Option<String>,
    /// Number of rows.
    pub(crate) len: usize,
    /// The columns; those that don't come from the row are still empty.
    pub(crate) columns: Vec<Column>,
    /// Values that could not be read.
    pub(crate) casts: Vec<CastFailure>,
    /// Fields that no column takes.
    pub(crate) unmapped: Vec<String>,
    /// Columns whose field is on no row.
    pub(crate) absent: Vec<String>,
}

/// Builds columns row by row.
pub(super) struct RowsDecoder<'p, 'de> {
    plan: &'p RowPlan,
    reader: &'p Reader,
    /// The whole answer.
    text: &'de str,
    most: usize,
    /// Whether there is one row, not an array of them.
    one: bool,
    /// Whether rows are still read as rows that are written alike.
    alike: bool,
    /// Where the array's rows are in the text, once they were read so.
    span: Option<Range<usize>>,
    /// Every value of the row, and its leaf, while they can make a pattern.
    values: Option<Vec<(&'de str, Option<usize>)>>,
    /// Per node of the trie the keys of the previous row, in order: the next row has the same.
    orders: Vec<Vec<(&'de str, Step)>>,
    /// Per leaf of the trie the raw value in the current row.
    raw: Vec<Option<&'de str>>,
    casts: Vec<(u32, &'de str)>,
    seen: Seen<'de>,
    found: bool,
    problem: Option<String>,
    len: usize,
    columns: Vec<Column>,
}

impl<'p, 'de> RowsDecoder<'p, 'de> {
    pub(super) fn new(plan: &'p RowPlan, reader: &'p Reader, text: &'de str, most: usize, one: bool) -> Self {
        Self {
            plan,
            reader,
            text,
            most,
            one,
            alike: !one,
            span: None,
            values: None,
            seen: Seen::default(),
            orders: vec![Vec::new(); plan.trie.nodes()],
            raw: vec![None; plan.trie.leaves()],
            casts: vec![(0, ""); plan.columns.len()],
            found: false,
            problem: None,
            len: 0,
            columns: Vec::new(),
        }
    }

    /// Where the array's rows were in the text, if the reading was stopped there.
    pub(super) fn stopped(&mut self) -> Option<Range<usize>> {
        self.span.take()
    }

    /// From now on by the parser alone.
    pub(super) fn plainly(&mut self) {
        self.alike = false;
    }

    pub(super) fn finish(self) -> DecodedRows {
        let casts = self.plan.columns.iter().zip(&self.casts).filter(|(_, (count, _))| *count > 0);
        let unmapped = self.seen.unmapped.iter().map(|(node, key)| self.plan.trie.path(*node, key));
        let mut unmapped: Vec<_> = unmapped.collect();
        unmapped.sort();
        let absent = |column: &&ColumnPlan| match &column.origin {
            Origin::Row(leaves) => self.len > 0 && !leaves.iter().any(|&leaf| self.seen.leaves[leaf]),
            _ => false,
        };
        DecodedRows {
            absent: self.plan.columns.iter().filter(absent).map(|column| column.name.clone()).collect(),
            unmapped,
            found: self.found,
            problem: self.problem,
            len: self.len,
            casts: casts
                .map(|(column, &(count, raw))| CastFailure {
                    column: column.name.clone(),
                    count,
                    sample: sample(raw),
                })
                .collect(),
            columns: self.columns,
        }
    }

    /// Starts over: of rows that come twice in one answer the last count.
    fn begin(&mut self) {
        let capacity = self.most.min(128);
        self.columns = self.plan.columns.iter().map(|c| Column::with_capacity(c.kind, capacity)).collect();
        self.casts.fill((0, ""));
        self.orders.iter_mut().for_each(Vec::clear);
        self.seen = Seen { leaves: vec![false; self.plan.trie.leaves()], ..Seen::default() };
        (self.found, self.problem, self.len) = (true, None, 0);
    }

    fn end_row(&mut self) {
        let number = self.len + 1;
        for ((plan, column), cast) in self.plan.columns.iter().zip(&mut self.columns).zip(&mut self.casts) {
            let Origin::Row(leaves) = &plan.origin else { continue };
            let raw = leaves.iter().find_map(|&leaf| self.raw[leaf].filter(|raw| *raw != "null"));
            if raw.is_some_and(|raw| raw.len() > LONGEST_VALUE) {
                self.problem = Some(format!("{} of row {number} is longer than 1 MiB", plan.name));
                return;
            }
            let read = match (raw, &plan.empty) {
                (None, _) => Read::Null,
                (Some(raw), Some(_)) if self.reader.is_empty(raw) => Read::Null,
                (Some(raw), _) => self.reader.push(raw, column),
            };
            if matches!(read, Read::Mended | Read::Unreadable) {
                *cast = (cast.0 + 1, if cast.0 == 0 { raw.unwrap_or_default() } else { cast.1 });
            }
            match (read, &plan.empty) {
                (Read::Value | Read::Mended, _) => {}
                (Read::Null, Some(empty)) => empty.push(column),
                (Read::Null | Read::Unreadable, _) if !plan.key => column.push_null(),
                (Read::Null, None) => {
                    self.problem = Some(format!("row {number} has no {}, a column of the key", plan.name));
                    return;
                }
                (Read::Unreadable, _) => {
                    let (name, kind) = (&plan.name, plan.kind.sql());
                    self.problem = Some(format!("row {number}: {name}, a column of the key, is no {kind}"));
                    return;
                }
            }
        }
        self.len += 1;
    }

    /// Reads one object of a row.
    fn object<A: MapAccess<'de>>(&mut self, node: usize, mut map: A) -> Result<(), A::Error> {
        let mut at = 0;
        loop {
            let (order, seen) = (&mut self.orders[node], &mut self.seen);
            let key = NextKey { trie: &self.plan.trie, node, order, seen, at };
            let Some(step) = map.next_key_seed(key)? else {
                return Ok(());
            };
            match step {
                Step::Skip if self.alike => self.note(map.next_value::<&RawValue>()?.get(), None),
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

    /// Takes a value of the row.
    fn note(&mut self, raw: &'de str, leaf: Option<usize>) {
        if let Some(leaf) = leaf {
            self.raw[leaf] = Some(raw);
        }
        if let Some(values) = &mut self.values {
            values.push((raw, leaf));
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
            let step = self.plan.trie.place(node, place);
            let more = match step {
                None | Some(Step::Skip) if self.alike => {
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

    /// Reads the rows from the first one on, to the array's end, most of them by the pattern of the one
    /// before. Where that is in the text; `None` if the parser is to have it all, since something is wrong
    /// or rows are too different.
    fn rows_alike(&mut self, first: &'de str) -> Option<Range<usize>> {
        let start = place(self.text, first);
        let mut rest = &self.text[start..];
        let (mut pattern, mut others) = (None::<Pattern<'de>>, 0);
        loop {
            match pattern.as_ref().and_then(|pattern| pattern.read(rest, &mut self.raw)) {
                Some(after) => rest = after,
                None => {
                    let row = next_value(rest)?;
                    rest = &rest[row.len()..];
                    self.raw.fill(None);
                    self.values = Some(Vec::new());
                    if !read_all(row, Row(self)).ok()? {
                        return None;
                    }
                    pattern = Some(Pattern::new(row, &self.values.take()?));
                    others += 1;
                }
            }
            self.end_row();
            // Each other row is parsed twice: where most are, the parser alone is quicker.
            if self.problem.is_some() || others > 10 + self.len / 2 {
                return None;
            }
            rest = rest.trim_ascii_start();
            if rest.starts_with(']') {
                return Some(start..self.text.len() - rest.len());
            }
            rest = rest.strip_prefix(',')?.trim_ascii_start();
            if self.len == self.most {
                return None;
            }
        }
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

/// Reads the API's own sums from their object.
pub(super) fn sums(plan: &SumsPlan, reader: &Reader, raw: &str) -> Vec<Option<Decimal>> {
    let mut decoder = RowsDecoder::new(&plan.row, reader, raw, 1, true);
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
        self.found = self.one;
        if self.one {
            self.raw.fill(None);
            self.object(ROOT, map)?;
            self.row(true);
            return Ok(());
        }
        IgnoredAny.visit_map(map).map(drop)
    }

    fn seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.begin();
        self.found = !self.one;
        if self.alike {
            let Some(first) = seq.next_element::<&RawValue>()? else { return Ok(()) };
            self.span = self.rows_alike(first.get());
            return Err(A::Error::custom("stopped at the rows"));
        }
        while self.problem.is_none() && !self.one {
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

/// One row; whether it is an object.
struct Row<'a, 'p, 'de>(&'a mut RowsDecoder<'p, 'de>);

impl<'de> Lenient<'de> for Row<'_, '_, 'de> {
    type Out = bool;

    fn other(self, _: Form) -> bool {
        false
    }

    fn map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        self.0.object(ROOT, map).map(|()| true)
    }

    fn seq<A: SeqAccess<'de>>(self, seq: A) -> Result<bool, A::Error> {
        let wanted = self.0.plan.trie.place(ROOT, 0).is_some();
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

fn sample(raw: &str) -> String {
    let text = text_of(raw);
    let text = text.as_deref().unwrap_or(raw);
    text[..text.floor_char_boundary(SAMPLE)].to_owned()
}
