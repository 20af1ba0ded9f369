//! Where an answer keeps what: checked.

use reqwest::header::HeaderName;

use super::{
    document::{AnswerDoc, FileDoc, FormatDoc},
    error::Wrong,
    words::{OneOrMany, Scalar},
};
use crate::{
    decode::{AnswerPlan, Field},
    trie::Clash,
};

/// Where an answer keeps what, and which codes mean that all is well.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) plan: AnswerPlan,
    /// Paths of the code as written; none if the source has no codes.
    pub(crate) code: Vec<String>,
    /// None where any code will do.
    pub(crate) ok: Vec<String>,
    /// Whether something that only a failure has tells failures.
    pub(crate) error: bool,
    pub(crate) total: Vec<String>,
    pub(crate) total_header: Option<HeaderName>,
    pub(crate) rows: String,
    /// Whether it is CSV with a header line instead of JSON.
    pub(crate) csv: bool,
}

/// What else is looked for in an answer: what, the key that says where, and where.
pub(super) type Extra<'a> = (Field, &'a [&'a str], &'a OneOrMany<String>);

/// Checks `[answer]`; `rows`: whether rows are looked for.
pub(super) fn compile(document: &AnswerDoc, rows: bool, extra: &[Extra<'_>]) -> Result<Answer, Wrong> {
    let AnswerDoc {
        code,
        ok,
        error,
        message,
        request_id,
        failures,
        total,
        total_header,
        rows: path,
        one,
        sums,
    } = document;
    let path = path.as_deref().filter(|_| rows);
    let mut plan =
        AnswerPlan::new(path, *one).map_err(|Clash| no_path(&["answer", "rows"], path.unwrap_or("")))?;
    let own: [Extra<'_>; 7] = [
        (Field::Code, &["answer", "code"], code),
        (Field::Error, &["answer", "error"], error),
        (Field::Message, &["answer", "message"], message),
        (Field::RequestId, &["answer", "request_id"], request_id),
        (Field::Failures, &["answer", "failures"], failures),
        (Field::Total, &["answer", "total"], total),
        (Field::Sums, &["answer", "sums"], sums),
    ];
    for (field, key, OneOrMany(paths)) in own.iter().chain(extra) {
        for at in paths {
            // Within an array of rows nothing else is told.
            let beneath = path.and_then(|rows| at.strip_prefix(rows)?.strip_prefix('.'));
            let place = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
            if beneath.is_some_and(|rest| !one && !place(rest)) {
                return Err(no_path(key, at));
            }
            plan.add(*field, at).map_err(|Clash| no_path(key, at))?;
        }
    }
    let (no_code, no_ok, no_error) = (code.0.is_empty(), ok.0.is_empty(), error.0.is_empty());
    if no_code != no_ok && (no_code || no_error) {
        let what = "code and ok go together: which codes mean that all is well?";
        return Err(Wrong::at(["answer", "ok"], what));
    }
    let total_header = total_header.as_deref().map(|name| {
        HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Wrong::at(["answer", "total_header"], format!("\"{name}\" is no header's name")))
    });
    if rows && path.is_none() {
        return Err(Wrong::at(["answer", "rows"], "where are the rows? $ is the whole answer"));
    }
    Ok(Answer {
        plan,
        code: code.0.clone(),
        ok: ok.0.iter().map(|Scalar(code)| code.clone()).collect(),
        error: !no_error,
        total: total.0.clone(),
        total_header: total_header.transpose()?,
        rows: path.unwrap_or_default().to_owned(),
        csv: false,
    })
}

/// Checks a task's `file`.
pub(super) fn file(document: &FileDoc) -> Result<Answer, Wrong> {
    let FileDoc { format, rows, total, sums } = document;
    let rows = rows.clone().unwrap_or_else(|| "$".into());
    let csv = *format == FormatDoc::Csv;
    if csv && (rows != "$" || !total.0.is_empty() || !sums.0.is_empty()) {
        return Err(Wrong::at(["pager", "file"], "CSV holds rows, and nothing else"));
    }
    let document =
        AnswerDoc { rows: Some(rows), total: total.clone(), sums: sums.clone(), ..AnswerDoc::default() };
    let answer = compile(&document, true, &[]).map_err(|Wrong { path, what }| {
        Wrong { path: path.into_iter().skip(1).collect(), what }.within(&["pager", "file"])
    })?;
    Ok(Answer { csv, ..answer })
}

fn no_path(key: &[&str], path: &str) -> Wrong {
    let what = format!("\"{path}\" is no path, or leads into the rows, or is theirs");
    Wrong::at([], what).within(key)
}
