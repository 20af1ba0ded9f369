//! Checks the table that a stream's columns make, and the columns whose sums the API states too.

use std::collections::BTreeMap;

use pagemill_core::{ColumnShape, DateScope, Kind, TableShape};

use crate::{
    decode::{ColumnPlan, RowPlan, SumsPlan},
    definition::{
        document::{
            columns::ColumnDoc,
            dates::{DateColumnsDoc, DatesDoc},
            serde_helpers::OneOrMany,
        },
        error::Wrong,
    },
    json_paths::Clash,
};

/// The table that the columns make.
pub(super) fn compile(
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
            let leaves = paths.map(|path| plan.row.json_paths.insert(path)).collect::<Result<_, Clash>>();
            plan.leaves.push(leaves.map_err(|Clash| wrong(format!("{name} has no path")))?);
            plan.columns.push(at);
        }
    }
    Ok(plan)
}
