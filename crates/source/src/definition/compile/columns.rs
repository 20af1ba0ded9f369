//! Checks a stream's columns.

use std::collections::BTreeMap;

use pagemill_core::{ColumnShape, Kind};
use toml::{Table, Value};

use crate::{
    decode::{ColumnPlan, Origin, RowPlan},
    definition::{
        document::{
            columns::{ColumnDoc, ColumnItem, ParamDoc},
            serde_helpers::{OneOrMany, Scalar},
        },
        error::Wrong,
        names::check_identifier,
    },
    json_paths::{Clash, JsonPaths},
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
            let column = one(column, &mut plan.json_paths, params, reader).map_err(|e| match item {
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

fn one(
    document: &ColumnDoc,
    json_paths: &mut JsonPaths,
    params: &Table,
    reader: &Reader,
) -> Result<ColumnPlan, Wrong> {
    let ColumnDoc { name, kind, path, param, constant, key, if_missing } = document;
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
            Origin::Row(leaves(&paths, json_paths)?)
        }
        (None, Some(param), None) => from_param(*param, kind)?,
        (None, None, Some(constant)) => Origin::Const(cell("const", &resolved(constant, params)?)?),
        _ => return Err(Wrong::at([], "one of path, param and const, not more")),
    };
    let if_missing: Option<Cell> = if_missing.as_ref().map(|text| cell("if_missing", text)).transpose()?;
    if if_missing.is_some() && !(*key && matches!(origin, Origin::Row(_))) {
        return Err(Wrong::at(
            ["if_missing"],
            "if_missing stands in for a part of the key that a row lacks: add key = true",
        ));
    }
    Ok(ColumnPlan { name: name.clone(), kind, key: *key, paths, origin, if_missing })
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

fn leaves(paths: &[String], json_paths: &mut JsonPaths) -> Result<Vec<usize>, Wrong> {
    if paths.is_empty() {
        return Err(Wrong::at(["path"], "no path"));
    }
    let leaf = |path: &String| {
        let what = || format!("\"{path}\" is no path");
        json_paths.insert(path).map_err(|Clash| Wrong::at(["path"], what()))
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
