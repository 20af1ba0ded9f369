//! The statements that load rows into a data table.

use pagemill_core::TableShape;

use super::{OWN_COLUMNS, names};
use crate::identifier::quote;

/// Which rows give way.
pub(super) enum Fence {
    /// Those of earlier requests: a response that came.
    Later,
    /// Those of the same request too: a response that is read again.
    Same,
}

/// A row is overwritten only by a page requested later, and only if it differs: an unchanged row is
/// not written again. Within one attempt it is written all the same, so that its fence moves on and
/// a late older copy from the same attempt cannot pass under it. A response that is read again also
/// overwrites its own rows, with the fence that they had.
///
/// Rows that would stay as they are are left out beforehand: `on conflict` locks each row that it
/// meets, even if it then writes nothing, and the lock is 56 bytes of WAL and a page made dirty. The
/// subquery is correlated so that the plan is always a look into the primary key.
pub(super) fn upsert_sql(name: &str, shape: &TableShape, fence: Fence) -> String {
    let all: Vec<usize> = (0..shape.columns.len()).collect();
    let rest: Vec<usize> = all.iter().copied().filter(|&i| !shape.columns[i].key).collect();
    let types = shape.columns.iter().map(|c| c.kind.sql()).chain(OWN_COLUMNS.map(|(_, sql_type)| sql_type));
    // In the select list the arrays are taken apart in lockstep; in the from clause each would be
    // materialised first, which costs a third more.
    let arrays: Vec<String> = (1..).zip(types).map(|(i, t)| format!("unnest(${i}::{t}[])")).collect();
    let assignments: Vec<String> = rest
        .iter()
        .map(|&i| quote(&shape.columns[i].name))
        .chain(OWN_COLUMNS.map(|(name, _)| quote(name)))
        .map(|c| format!("{c} = excluded.{c}"))
        .collect();
    let gives_way = |new: &str| {
        let differs = if rest.is_empty() {
            "false".to_owned()
        } else {
            let new = names(shape, &rest, &format!("{new}."));
            format!("({}) is distinct from ({new})", names(shape, &rest, "t."))
        };
        match fence {
            Fence::Later => {
                format!("t._fetched_at < {new}._fetched_at and (t._run = {new}._run or {differs})")
            }
            Fence::Same => format!("t._fetched_at <= {new}._fetched_at and {differs}"),
        }
    };
    let (columns, key) = (names(shape, &all, ""), shape.key());
    format!(
        "insert into {name} as t ({columns}, _run, _page, _fetched_at) \
         select * from (select {}) as n ({columns}, _run, _page, _fetched_at) \
         where coalesce((select {} from {name} t where ({}) = ({})), true) \
         on conflict ({}) do update set {} \
         where {}",
        arrays.join(", "),
        gives_way("n"),
        names(shape, &key, "t."),
        names(shape, &key, "n."),
        names(shape, &key, ""),
        assignments.join(", "),
        gives_way("excluded"),
    )
}

/// Rows of which none is there yet.
pub(super) fn copy_sql(name: &str, shape: &TableShape) -> String {
    let all: Vec<usize> = (0..shape.columns.len()).collect();
    let columns = names(shape, &all, "");
    format!("copy {name} ({columns}, _run, _page, _fetched_at) from stdin (format binary)")
}
