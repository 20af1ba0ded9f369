//! Where a response keeps what it says about itself, and its rows.

use crate::json_paths::{Clash, JsonPaths};

/// Where a response keeps what.
#[derive(Debug)]
pub(crate) struct EnvelopePlan {
    pub(super) json_paths: JsonPaths,
    pub(super) rows: RowsPlace,
    /// Whether the place of the rows holds the only row itself.
    pub(crate) single_row: bool,
    /// Leaves of each field, by [`Field`]: the first that is there counts.
    pub(super) fields: [Vec<usize>; Field::COUNT],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowsPlace {
    Nowhere,
    /// `$`
    Whole,
    Leaf(usize),
}

/// What a response says beside its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    Code,
    Message,
    RequestId,
    Total,
    /// There on failures only.
    Error,
    /// An array, of the parts that failed.
    PartialFailures,
    /// An object.
    Sums,
    /// Cursor or link of the next page.
    Next,
    /// Whether there is a next page.
    HasMore,
    TaskId,
    TaskState,
    TaskFileUrl,
}

impl Field {
    const COUNT: usize = 12;
}

impl EnvelopePlan {
    /// A plan that finds the rows at a path, if there are any; `single_row`: the place of the rows holds the only
    /// row itself.
    pub(crate) fn new(rows: Option<&str>, single_row: bool) -> Result<Self, Clash> {
        let mut json_paths = JsonPaths::default();
        let rows = match rows {
            None => RowsPlace::Nowhere,
            Some("$") => RowsPlace::Whole,
            Some(path) => RowsPlace::Leaf(json_paths.insert(path)?),
        };
        Ok(Self { json_paths, rows, single_row, fields: Default::default() })
    }

    /// Adds a path at which a field may be.
    pub(crate) fn add(&mut self, field: Field, path: &str) -> Result<(), Clash> {
        let leaf = self.json_paths.insert(path)?;
        if RowsPlace::Leaf(leaf) == self.rows {
            return Err(Clash);
        }
        self.fields[field as usize].push(leaf);
        Ok(())
    }
}
