//! Checks `[response]`, and the `file` of a task.

use reqwest::header::HeaderName;

use crate::{
    decode::{EnvelopePlan, Field},
    definition::{
        document::{
            response::{FileDoc, FormatDoc, ResponseDoc},
            serde_helpers::{OneOrMany, Scalar},
        },
        error::Wrong,
        response::ResponsePlan,
    },
    json_paths::Clash,
};

/// What else is looked for in a response: what, the key that says where, and where.
pub(super) type Extra<'a> = (Field, &'a [&'a str], &'a OneOrMany<String>);

/// Checks `[response]`; `rows`: whether rows are looked for.
pub(super) fn compile(
    document: &ResponseDoc,
    rows: bool,
    extra: &[Extra<'_>],
) -> Result<ResponsePlan, Wrong> {
    let ResponseDoc {
        code,
        ok,
        error,
        message,
        request_id,
        partial_failures,
        total,
        total_header,
        rows: path,
        single_row,
        sums,
    } = document;
    let path = path.as_deref().filter(|_| rows);
    let own: [Extra<'_>; 7] = [
        (Field::Code, &["response", "code"], code),
        (Field::Error, &["response", "error"], error),
        (Field::Message, &["response", "message"], message),
        (Field::RequestId, &["response", "request_id"], request_id),
        (Field::PartialFailures, &["response", "partial_failures"], partial_failures),
        (Field::Total, &["response", "total"], total),
        (Field::Sums, &["response", "sums"], sums),
    ];
    let envelope = envelope(path, *single_row, own.iter().chain(extra))?;
    let (no_code, no_ok, no_error) = (code.0.is_empty(), ok.0.is_empty(), error.0.is_empty());
    if no_code != no_ok && (no_code || no_error) {
        let what = "code and ok go together: which codes mean that all is well?";
        return Err(Wrong::at(["response", "ok"], what));
    }
    let total_header = total_header.as_deref().map(|name| {
        HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Wrong::at(["response", "total_header"], format!("\"{name}\" is no header's name")))
    });
    if rows && path.is_none() {
        return Err(Wrong::at(["response", "rows"], "where are the rows? $ is the whole answer"));
    }
    Ok(ResponsePlan {
        envelope,
        code: code.0.clone(),
        ok: ok.0.iter().map(|Scalar(code)| code.clone()).collect(),
        error: !no_error,
        total: total.0.clone(),
        total_header: total_header.transpose()?,
        rows: path.unwrap_or_default().to_owned(),
        csv: false,
    })
}

fn envelope<'a>(
    rows: Option<&str>,
    single_row: bool,
    fields: impl Iterator<Item = &'a Extra<'a>>,
) -> Result<EnvelopePlan, Wrong> {
    let mut plan = EnvelopePlan::new(rows, single_row)
        .map_err(|Clash| no_path(&["response", "rows"], rows.unwrap_or("")))?;
    for (field, key, OneOrMany(paths)) in fields {
        for at in paths {
            // Within an array of rows nothing else is told.
            let beneath = rows.and_then(|rows| at.strip_prefix(rows)?.strip_prefix('.'));
            let place = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
            if beneath.is_some_and(|rest| !single_row && !place(rest)) {
                return Err(no_path(key, at));
            }
            plan.add(*field, at).map_err(|Clash| no_path(key, at))?;
        }
    }
    Ok(plan)
}

/// Checks the `file` of a task.
pub(super) fn file(document: &FileDoc) -> Result<ResponsePlan, Wrong> {
    let FileDoc { format, rows, total, sums } = document;
    let rows = rows.clone().unwrap_or_else(|| "$".into());
    let csv = *format == FormatDoc::Csv;
    if csv && (rows != "$" || !total.0.is_empty() || !sums.0.is_empty()) {
        return Err(Wrong::at(["pager", "file"], "CSV holds rows, and nothing else"));
    }
    let document =
        ResponseDoc { rows: Some(rows), total: total.clone(), sums: sums.clone(), ..ResponseDoc::default() };
    let response = compile(&document, true, &[]).map_err(|Wrong { path, what }| {
        Wrong { path: path.into_iter().skip(1).collect(), what }.within(&["pager", "file"])
    })?;
    Ok(ResponsePlan { csv, ..response })
}

fn no_path(key: &[&str], path: &str) -> Wrong {
    let what = format!("\"{path}\" is no path, or leads into the rows, or is theirs");
    Wrong::at([], what).within(key)
}
