//! The rows of a response: each mapped value is kept as raw text until its row ends, then read by the type of its
//! column, so that ids and decimals are exact, and order and repetition don't matter.

use pagemill_core::{CastFailure, Column};

use super::{
    keys::Seen,
    row_plan::{ColumnPlan, Origin, RowPlan},
};
use crate::{
    json_paths::Step,
    value::{Read, Reader, text_of},
};

/// No value of a row is longer.
const LONGEST_VALUE: usize = 1 << 20;

/// A sample of an unreadable value is cut to this many bytes.
const SAMPLE: usize = 64;

/// The rows of a response, as far as they came.
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
    pub(super) plan: &'p RowPlan,
    reader: &'p Reader,
    /// The most rows.
    pub(super) most: usize,
    /// Whether the place of the rows holds the only row itself.
    pub(super) single_row: bool,
    /// Every value of the row, and its leaf, while the shape of the row is learned.
    pub(super) values: Option<Vec<(&'de str, Option<usize>)>>,
    /// Per node of the paths the keys of the previous row, in order: the next row has the same.
    pub(super) orders: Vec<Vec<(&'de str, Step)>>,
    /// Per leaf of the paths the raw value in the current row.
    pub(super) raw: Vec<Option<&'de str>>,
    pub(super) seen: Seen<'de>,
    pub(super) found: bool,
    pub(super) problem: Option<String>,
    pub(super) len: usize,
    casts: Vec<(u32, &'de str)>,
    columns: Vec<Column>,
}

impl<'p, 'de> RowsDecoder<'p, 'de> {
    pub(super) fn new(plan: &'p RowPlan, reader: &'p Reader, most: usize, single_row: bool) -> Self {
        Self {
            plan,
            reader,
            most,
            single_row,
            values: None,
            seen: Seen::default(),
            orders: vec![Vec::new(); plan.json_paths.nodes()],
            raw: vec![None; plan.json_paths.leaves()],
            casts: vec![(0, ""); plan.columns.len()],
            found: false,
            problem: None,
            len: 0,
            columns: Vec::new(),
        }
    }

    /// Starts over: if a response holds rows twice, the last rows count.
    pub(super) fn begin(&mut self) {
        let capacity = self.most.min(128);
        self.columns = self.plan.columns.iter().map(|c| Column::with_capacity(c.kind, capacity)).collect();
        self.casts.fill((0, ""));
        self.orders.iter_mut().for_each(Vec::clear);
        self.seen = Seen { leaves: vec![false; self.plan.json_paths.leaves()], ..Seen::default() };
        (self.found, self.problem, self.len, self.values) = (true, None, 0, None);
    }

    /// Reads the raw values of a row into the columns.
    pub(super) fn end_row(&mut self) {
        let number = self.len + 1;
        for ((plan, column), cast) in self.plan.columns.iter().zip(&mut self.columns).zip(&mut self.casts) {
            let Origin::Row(leaves) = &plan.origin else { continue };
            let raw = leaves.iter().find_map(|&leaf| self.raw[leaf].filter(|raw| *raw != "null"));
            if raw.is_some_and(|raw| raw.len() > LONGEST_VALUE) {
                self.problem = Some(format!("{} of row {number} is longer than 1 MiB", plan.name));
                return;
            }
            let read = match (raw, &plan.if_missing) {
                (None, _) => Read::Null,
                (Some(raw), Some(_)) if self.reader.is_empty(raw) => Read::Null,
                (Some(raw), _) => self.reader.push(raw, column),
            };
            if matches!(read, Read::Mended | Read::Unreadable) {
                *cast = (cast.0 + 1, if cast.0 == 0 { raw.unwrap_or_default() } else { cast.1 });
            }
            match (read, &plan.if_missing) {
                (Read::Value | Read::Mended, _) => {}
                (Read::Null, Some(cell)) => cell.push(column),
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

    /// Takes a value of the row.
    pub(super) fn note(&mut self, raw: &'de str, leaf: Option<usize>) {
        if let Some(leaf) = leaf {
            self.raw[leaf] = Some(raw);
        }
        if let Some(values) = &mut self.values {
            values.push((raw, leaf));
        }
    }

    pub(super) fn finish(self) -> DecodedRows {
        let casts = self.plan.columns.iter().zip(&self.casts).filter(|(_, (count, _))| *count > 0);
        let unmapped = self.seen.unmapped.iter().map(|(node, key)| self.plan.json_paths.path(*node, key));
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
}

fn sample(raw: &str) -> String {
    let text = text_of(raw);
    let text = text.as_deref().unwrap_or(raw);
    text[..text.floor_char_boundary(SAMPLE)].to_owned()
}
