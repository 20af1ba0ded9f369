//! The statements that load rows into a data table, and beside it.

use pagemill_core::TableShape;

use super::{OWN_COLUMNS, names};
use crate::identifier::quote;

/// Rows of an attempt whose key is in the table already: a page of this run brought it, or an attempt that was closed left
/// it. Within a run the later request wins. A row of another run gives way whenever it was requested: the database's clock
/// may have stepped back.
pub(super) fn upsert_sql(name: &str, shape: &TableShape) -> String {
    let all = all(shape);
    let types = shape.columns.iter().map(|c| c.kind.sql()).chain(OWN_COLUMNS.map(|(_, sql_type)| sql_type));
    let rest = all.iter().filter(|&&i| !shape.columns[i].key).map(|&i| quote(&shape.columns[i].name));
    let assignments: Vec<String> = rest
        .chain(OWN_COLUMNS.map(|(name, _)| quote(name)))
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    format!(
        "insert into {name} as t ({}, _run, _page, _fetched_at) select {} on conflict ({}) do update set {} \
         where t._run <> excluded._run or t._fetched_at < excluded._fetched_at",
        names(shape, &all, ""),
        unnested(types),
        names(shape, &shape.key(), ""),
        assignments.join(", "),
    )
}

/// Rows of which none is there yet.
pub(super) fn copy_sql(name: &str, shape: &TableShape) -> String {
    let columns = names(shape, &all(shape), "");
    format!("copy {name} ({columns}, _run, _page, _fetched_at) from stdin (format binary)")
}

/// Rows that wait beside the table.
pub(super) fn stage_copy_sql(staged: &str, shape: &TableShape) -> String {
    format!("copy {staged} (_partition, _page, {}) from stdin (format binary)", names(shape, &all(shape), ""))
}

/// As [`stage_copy_sql`], for a database that cannot COPY.
pub(super) fn stage_insert_sql(staged: &str, shape: &TableShape) -> String {
    let types = ["bigint", "integer"].into_iter().chain(shape.columns.iter().map(|c| c.kind.sql()));
    format!(
        "insert into {staged} (_partition, _page, {}) select {}",
        names(shape, &all(shape), ""),
        unnested(types)
    )
}

/// Pages that are stored again replace the rows that they have staged.
pub(super) fn unstage_sql(staged: &str) -> String {
    format!(
        "delete from {staged} s using unnest($1::bigint[], $2::int[]) as u(partition, page) \
         where s._partition = u.partition and s._page = u.page"
    )
}

fn all(shape: &TableShape) -> Vec<usize> {
    (0..shape.columns.len()).collect()
}

/// In the select list arrays are taken apart in lockstep; in the from clause each would be materialised first,
/// which costs a third more.
fn unnested<'a>(types: impl Iterator<Item = &'a str>) -> String {
    let arrays: Vec<String> = (1..).zip(types).map(|(i, t)| format!("unnest(${i}::{t}[])")).collect();
    arrays.join(", ")
}
