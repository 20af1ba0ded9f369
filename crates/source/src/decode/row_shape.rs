//! How a row is written. What stands between the values of a row, keys and all, is expected of the next row, so that
//! most of a response is compared and not parsed. Any other row goes to the parser.
//!
//! No parser crate replaces this: simd-json writes into the body, which is kept, and sonic-rs is fast by thousands of
//! lines of unsafe code and `target-cpu=native`. Both parse each key of each row, which is what a shape saves.

use super::cursor::{Cursor, place, value};

/// How a row is written.
pub(super) struct RowShape<'de> {
    /// What stands before each value, and the leaf of the value, if anybody wants it.
    values: Vec<(&'de str, Option<usize>)>,
    /// What stands after the last value.
    end: &'de str,
}

impl<'de> RowShape<'de> {
    /// The shape of a row, by its values in their order and their leaves.
    pub(super) fn new(row: &'de str, values: &[(&'de str, Option<usize>)]) -> Self {
        let mut end = 0;
        let values = values
            .iter()
            .map(|&(value, leaf)| {
                let start = place(row, value);
                let before = &row[end..start];
                end = start + value.len();
                (before, leaf)
            })
            .collect();
        Self { values, end: &row[end..] }
    }

    /// Reads a row, value by value into its leaf; whether the row has this shape. If not, the cursor stays.
    pub(super) fn read(&self, cursor: &mut Cursor<'de>, leaves: &mut [Option<&'de str>]) -> bool {
        let Some(rest) = self.values(cursor.rest, leaves) else { return false };
        cursor.rest = rest;
        true
    }

    fn values(&self, text: &'de str, leaves: &mut [Option<&'de str>]) -> Option<&'de str> {
        let mut rest = text;
        for &(before, leaf) in &self.values {
            rest = rest.strip_prefix(before)?;
            let value = value(rest)?;
            if let Some(leaf) = leaf {
                leaves[leaf] = Some(value);
            }
            rest = &rest[value.len()..];
        }
        rest.strip_prefix(self.end)
    }
}
