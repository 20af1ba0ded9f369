//! How a stream's rows become columns, as its definition says.

use pagemill_core::Kind;

use crate::{json_paths::JsonPaths, value::Cell};

/// How a stream's rows become columns.
#[derive(Debug, Default)]
pub(crate) struct RowPlan {
    /// Paths into a row.
    pub(crate) json_paths: JsonPaths,
    /// Columns in the table's order.
    pub(crate) columns: Vec<ColumnPlan>,
}

/// Where the API's own sums are, within their object.
#[derive(Debug, Default)]
pub(crate) struct SumsPlan {
    /// Reads the object as if it were a row.
    pub(crate) row: RowPlan,
    /// Positions of the additive columns.
    pub(crate) columns: Vec<usize>,
    /// Leaves for each of them, the first that is there counts.
    pub(crate) leaves: Vec<Vec<usize>>,
}

/// How one column is filled.
#[derive(Debug)]
pub(crate) struct ColumnPlan {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) key: bool,
    /// As written; none if the value doesn't come from the row.
    pub(crate) paths: Vec<String>,
    pub(crate) origin: Origin,
    /// Stands in the key for a dimension that a row lacks.
    pub(crate) if_missing: Option<Cell>,
}

/// Where a column's values come from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// From the row: leaves of the paths, the first that is there and not null.
    Row(Vec<usize>),
    /// The request's account.
    Account,
    /// The request's first day.
    From,
    /// The request's last day.
    To,
    /// The same on every row.
    Const(Cell),
}
