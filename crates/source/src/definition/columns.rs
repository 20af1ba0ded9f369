//! A stream's columns: groups put in, types checked, values given by request or definition read.

use std::collections::BTreeMap;

use pagemill_core::{ColumnShape, DateScope, Kind, TableShape};
use toml::{Table, Value};

use super::{
    document::{ColumnDoc, ColumnItem, DateColumnsDoc, DatesDoc, ParamDoc},
    error::Wrong,
    words::{OneOrMany, Scalar, check_identifier},
};
use crate::{
    decode::{ColumnPlan, Origin, RowPlan, SumsPlan},
    trie::{Clash, Trie},
    value::{Cell, Reader},
};

/// Compiles a stream's list of columns.
pub(super) fn compile(
    items: Vec<ColumnItem>,
    groups: &BTreeMap<String, Vec<ColumnDoc>>,
    params: &Table,
    reader: &Reader,
) -> Result<(RowPlan, Vec<ColumnShape>), Wrong> {
    let mut plan = RowPlan::default();
    for (i, item) in items.iter().enumerate() {
        let number = i.to_string();
        let columns = match item {
            ColumnItem::Column(column) => std::slice::from_ref(&**column),
            ColumnItem::Group(name) => groups.get(name).map(Vec::as_slice).ok_or_else(|| {
                let there = groups.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                Wrong::at(["columns", &number], format!("there is no group @{name} (but: {there})"))
            })?,
        };
        for column in columns {
            let column = one(column, &mut plan.trie, params, reader).map_err(|e| match item {
                ColumnItem::Column(_) => e.within(&["columns", &number]),
                ColumnItem::Group(group) => {
                    Wrong::at(["columns", &number], format!("column {} of @{group}: {}", column.name, e.what))
                }
            })?;
            if plan.columns.iter().any(|c| c.name == column.name) {
                return Err(Wrong::at(["columns", &number], format!("a second column {}", column.name)));
            }
            plan.columns.push(column);
        }
    }
    if !plan.columns.iter().any(|c| c.key) {
        return Err(Wrong::at(["columns"], "no column has key = true: rows could not be told apart"));
    }
    let shape = |c: &ColumnPlan| ColumnShape { name: c.name.clone(), kind: c.kind, key: c.key };
    let shapes = plan.columns.iter().map(shape).collect();
    Ok((plan, shapes))
}

/// The columns whose sums the API states too, as `sums` lists them: names and groups.
pub(super) fn sums(
    OneOrMany(items): &OneOrMany<String>,
    groups: &BTreeMap<String, Vec<ColumnDoc>>,
    rows: &RowPlan,
) -> Result<SumsPlan, Wrong> {
    let mut plan = SumsPlan::default();
    for (i, item) in items.iter().enumerate() {
        let wrong = |what: String| Wrong::at(["sums", &i.to_string()], what);
        let names: Vec<&str> = match item.strip_prefix('@') {
            None => vec![item],
            Some(name) => {
                let group = groups.get(name).ok_or_else(|| wrong(format!("there is no group @{name}")))?;
                group.iter().map(|column| column.name.as_str()).collect()
            }
        };
        for name in names {
            let at = rows.columns.iter().position(|column| column.name == name);
            let at = at.ok_or_else(|| wrong(format!("there is no column {name}")))?;
            let ColumnPlan { kind, paths, .. } = &rows.columns[at];
            if paths.is_empty() || !matches!(kind, Kind::Bigint | Kind::Numeric) {
                return Err(wrong(format!("{name} is no number that comes with the rows")));
            }
            if plan.columns.contains(&at) {
                return Err(wrong(format!("{name} a second time")));
            }
            // Where rows nest their fields, the sums may not.
            let last = paths.iter().filter_map(|path| path.rsplit('.').next());
            let paths = paths.iter().map(String::as_str).chain(last);
            let leaves = paths.map(|path| plan.row.trie.insert(path)).collect::<Result<_, Clash>>();
            plan.leaves.push(leaves.map_err(|Clash| wrong(format!("{name} has no path")))?);
            plan.columns.push(at);
        }
    }
    Ok(plan)
}

/// The table that the columns make.
pub(super) fn table(
    name: String,
    columns: Vec<ColumnShape>,
    account: Option<String>,
    dates: DatesDoc,
) -> Result<TableShape, Wrong> {
    // What rows are found by stands in the key, so that it is never NULL.
    let key = |name: &str| columns.iter().find(|c| c.name == name && c.key);
    if let Some(account) = account.as_deref().filter(|account| key(account).is_none()) {
        return Err(Wrong::at(["account_column"], format!("{account} is no column with key = true")));
    }
    let DatesDoc::Columns(dates) = dates else {
        return Ok(TableShape { name, columns, account, dates: DateScope::Whole });
    };
    let day = |at: &str, name: &String| match key(name) {
        Some(column) if column.kind == Kind::Date => Ok(name.clone()),
        Some(_) | None => {
            Err(Wrong::at(["dates", at], format!("{name} is no column with type = \"date\" and key = true")))
        }
    };
    let dates = match &dates {
        DateColumnsDoc { within: Some(within), from: None, to: None } => {
            DateScope::Within(day("within", within)?)
        }
        DateColumnsDoc { within: None, from: Some(from), to: Some(to) } => {
            DateScope::Exact { from: day("from", from)?, to: day("to", to)? }
        }
        _ => return Err(Wrong::at(["dates"], "write { within = … }, { from = …, to = … } or \"none\"")),
    };
    Ok(TableShape { name, columns, account, dates })
}

fn one(document: &ColumnDoc, trie: &mut Trie, params: &Table, reader: &Reader) -> Result<ColumnPlan, Wrong> {
    let ColumnDoc { name, kind, path, param, constant, key, empty } = document;
    let kind = Kind::from(*kind);
    check_identifier(name).map_err(|e| Wrong::at(["name"], e))?;
    let cell = |at: &str, Scalar(text): &Scalar| {
        let wrong = || Wrong::at([at], format!("\"{text}\" is no {}", kind.sql()));
        reader.cell(kind, text).ok_or_else(wrong)
    };
    let mut paths = Vec::new();
    let origin = match (path, param, constant) {
        (path, None, None) => {
            paths = path.as_ref().map_or_else(|| vec![name.clone()], |OneOrMany(paths)| paths.clone());
            Origin::Row(leaves(&paths, trie)?)
        }
        (None, Some(param), None) => from_param(*param, kind)?,
        (None, None, Some(constant)) => Origin::Const(cell("const", &resolved(constant, params)?)?),
        _ => return Err(Wrong::at([], "one of path, param and const, not more")),
    };
    let empty: Option<Cell> = empty.as_ref().map(|empty| cell("empty", empty)).transpose()?;
    if empty.is_some() && !(*key && matches!(origin, Origin::Row(_))) {
        return Err(Wrong::at(
            ["empty"],
            "empty stands in for a part of the key that a row lacks: add key = true",
        ));
    }
    Ok(ColumnPlan { name: name.clone(), kind, key: *key, paths, origin, empty })
}

/// What `{params.NAME}` stands for, or the constant itself.
fn resolved(constant: &Scalar, params: &Table) -> Result<Scalar, Wrong> {
    let name = constant.0.strip_prefix("{params.").and_then(|rest| rest.strip_suffix('}'));
    let Some(name) = name else { return Ok(Scalar(constant.0.clone())) };
    match params.get(name) {
        Some(Value::String(text)) => Ok(Scalar(text.clone())),
        Some(value @ (Value::Integer(_) | Value::Boolean(_))) => Ok(Scalar(value.to_string())),
        Some(_) | None => Err(Wrong::at(["const"], format!("[params] has no single value {name}"))),
    }
}

fn leaves(paths: &[String], trie: &mut Trie) -> Result<Vec<usize>, Wrong> {
    if paths.is_empty() {
        return Err(Wrong::at(["path"], "no path"));
    }
    let leaf = |path: &String| {
        let what = || format!("\"{path}\" is no path");
        trie.insert(path).map_err(|Clash| Wrong::at(["path"], what()))
    };
    paths.iter().map(leaf).collect()
}

fn from_param(param: ParamDoc, kind: Kind) -> Result<Origin, Wrong> {
    match (param, kind) {
        (ParamDoc::Account, Kind::Bigint | Kind::Text) => Ok(Origin::Account),
        (ParamDoc::From, Kind::Date | Kind::Text) => Ok(Origin::From),
        (ParamDoc::To, Kind::Date | Kind::Text) => Ok(Origin::To),
        (ParamDoc::Account, _) => Err(Wrong::at(["type"], "an account is a bigint or text")),
        (ParamDoc::From | ParamDoc::To, _) => Err(Wrong::at(["type"], "a request's day is a date or text")),
    }
}
