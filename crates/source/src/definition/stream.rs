//! A stream: checked and made usable.

use std::{collections::BTreeMap, time::Duration};

use reqwest::Url;
use toml::Table;

use super::{
    Answer, Stream, answer, columns,
    document::{
        AnswerDoc, ColumnDoc, DatesDoc, MissingDoc, PagerDoc, PartitionByDoc, SplitDoc, StreamDoc, TaskDoc,
    },
    error::Wrong,
    request::{self, RequestDoc},
    words::{OneOrMany, Scalar, check_identifier, check_short_name},
};
use crate::{
    answer::MOST_ROWS,
    decode::Field,
    request::RequestPlan,
    template::{Scope, Template},
    value::Reader,
};

/// No page is planned larger.
const LARGEST_PAGE: u32 = 10_000;

/// What requests for pages fill in.
const NAMES: [&str; 9] =
    ["account", "page", "page_size", "offset", "cursor", "token", "timestamp", "timestamp_ms", "nonce"];

/// Besides, in the request that asks how a task is.
const TASK: [&str; 10] = with(NAMES, "task");

/// Besides, in what is set for a part of a day.
const PART: [&str; 10] = with(NAMES, "value");

const fn with(names: [&'static str; 9], one: &'static str) -> [&'static str; 10] {
    let [a, b, c, d, e, f, g, h, i] = names;
    [a, b, c, d, e, f, g, h, i, one]
}

/// How pages follow one another.
#[derive(Debug)]
pub(crate) enum Pager {
    /// By number; the API's first.
    Page { first: u32 },
    /// By the row it begins at; the API's first.
    Offset { first: u32 },
    /// By the cursor that each page names; whether something else says that there is a next one.
    Cursor { more: bool },
    /// By the URL that each page names, perhaps in the header `Link`.
    Link { header: bool },
    /// One answer holds all.
    Single,
    /// The report is prepared first.
    Task(Box<Task>),
}

/// A report that the API prepares first. The stream's own request creates it, and the stream's own
/// answer is the one that holds the rows.
#[derive(Debug)]
pub(crate) struct Task {
    /// Where the answer that created it keeps what.
    pub(crate) created: Answer,
    pub(crate) poll: RequestPlan,
    /// Where the answer that tells its state keeps what.
    pub(crate) polled: Answer,
    pub(crate) done: Vec<String>,
    pub(crate) failed: Vec<String>,
    pub(crate) every: Duration,
    /// Whether the rows are in a file of their own.
    pub(crate) file: bool,
}

/// A dimension by which a day is split.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) name: String,
    pub(crate) values: Vec<String>,
    pub(crate) set: Template,
}

/// What the streams of a source share.
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) base_url: &'a Url,
    pub(super) groups: &'a BTreeMap<String, Vec<ColumnDoc>>,
    pub(super) reader: &'a Reader,
    pub(super) params: &'a Table,
    pub(super) api_names: &'a BTreeMap<String, Vec<String>>,
}

impl Source<'_> {
    fn scope<'s>(&'s self, names: &'s [&'static str]) -> Scope<'s> {
        Scope { names, days: true, params: self.params, columns: self.api_names }
    }

    pub(super) fn stream(&self, name: &str, document: StreamDoc) -> Result<Stream, Wrong> {
        check_short_name(name).map_err(|e| Wrong::at([], e))?;
        let table = document.table.unwrap_or_else(|| format!("{}_{name}", self.name));
        check_identifier(&table).map_err(|e| Wrong::at(["table"], e))?;
        let request = RequestDoc {
            path: document.path,
            method: document.method,
            encoding: document.encoding,
            query: document.query,
            body: document.body,
            headers: document.headers,
            arrays: document.arrays,
        };
        let request = request::compile(&request, self.base_url, self.scope(&NAMES))?;
        let page_size = size(&document.pager)?;
        let window = window(&document.pager, page_size)?;
        let (pager, answer) = self.pager(&document.pager, &document.answer, &request)?;
        let (max_days, grid) = (document.max_days, document.grid.unwrap_or(1));
        if max_days == Some(0) {
            return Err(Wrong::at(["max_days"], "a request spans at least one day"));
        }
        if grid == 0 || max_days.is_some_and(|most| grid > most) {
            return Err(Wrong::at(
                ["grid"],
                "a partition holds at least one day, and not more than max_days",
            ));
        }
        let (rows, shape) = columns::compile(document.columns, self.groups, self.params, self.reader)?;
        let sums = columns::sums(&document.sums, self.groups, &rows)?;
        if !sums.columns.is_empty() && document.answer.sums.0.is_empty() && !matches!(pager, Pager::Task(_)) {
            return Err(Wrong::at(["sums"], "where does an answer state them? add sums to answer"));
        }
        document.rate.0.check().map_err(|e| e.within(&["rate"]))?;
        if document.rate.0.remaining_header.is_some() {
            let what = "headers tell of the source's rate: name them there";
            return Err(Wrong::at(["rate", "remaining_header"], what));
        }
        let monthly = document.partition_by == Some(PartitionByDoc::Month);
        if monthly && matches!(document.dates, DatesDoc::None) {
            return Err(Wrong::at(
                ["partition_by"],
                "the rows know no date (dates = \"none\"): there are no months",
            ));
        }
        let splits = document.split_by.into_iter().enumerate();
        Ok(Stream {
            meaning: 0, // of the whole text: see `Definition::parse`
            title: document.title.unwrap_or_else(|| name.to_owned()),
            name: name.to_owned(),
            rate: document.rate.0,
            page_size,
            window,
            max_days,
            grid,
            ready_at: document.ready_at,
            restate: document.restate,
            deletes_missing: document.missing_rows == MissingDoc::Delete,
            monthly,
            splits: splits.map(|(i, split)| self.split(i, split)).collect::<Result<_, _>>()?,
            table: columns::table(table, shape, document.account_column, document.dates)?,
            request,
            pager,
            answer,
            rows,
            sums,
        })
    }

    fn pager(
        &self,
        pager: &PagerDoc,
        document: &AnswerDoc,
        request: &RequestPlan,
    ) -> Result<(Pager, Answer), Wrong> {
        let named = |name: &str| match request.names(&[name]) {
            true => Ok(()),
            false => {
                let at = if request.body.is_some() { "body" } else { "query" };
                Err(Wrong::at([at], format!("{{{name}}} is nowhere: every request would get the same page")))
            }
        };
        let rows = |extra: &[answer::Extra<'_>]| answer::compile(document, true, extra);
        let numbered = || match rows(&[])? {
            answer if answer.total.is_empty() && answer.total_header.is_none() => Err(Wrong::at(
                ["answer", "total"],
                "where does an answer state the total? The pager counts by it",
            )),
            answer => Ok(answer),
        };
        Ok(match pager {
            PagerDoc::Page { first, .. } => {
                named("page")?;
                (Pager::Page { first: *first }, numbered()?)
            }
            PagerDoc::Offset { first, .. } => {
                named("offset")?;
                (Pager::Offset { first: *first }, numbered()?)
            }
            PagerDoc::Cursor { next, more, .. } => {
                named("cursor")?;
                let extra: [answer::Extra<'_>; 2] =
                    [(Field::Next, &["pager", "next"], next), (Field::More, &["pager", "more"], more)];
                (Pager::Cursor { more: !more.0.is_empty() }, rows(&extra)?)
            }
            PagerDoc::Link { next, header, .. } => {
                if next.0.is_empty() != *header {
                    return Err(Wrong::at(["pager"], "write either next = \"path\" or header = true"));
                }
                (Pager::Link { header: *header }, rows(&[(Field::Next, &["pager", "next"], next)])?)
            }
            PagerDoc::Single {} => (Pager::Single, rows(&[])?),
            PagerDoc::Task(task) => self.task(task, document)?,
        })
    }

    fn task(&self, document: &TaskDoc, answer: &AnswerDoc) -> Result<(Pager, Answer), Wrong> {
        let TaskDoc { id, poll, state, done, failed, url, every, file } = document;
        let poll = request::compile(poll, self.base_url, self.scope(&TASK))
            .map_err(|e| e.within(&["pager", "poll"]))?;
        if !poll.names(&["task"]) {
            return Err(Wrong::at(["pager", "poll"], "{task} is nowhere: which task is asked for?"));
        }
        if done.0.is_empty() {
            return Err(Wrong::at(["pager", "done"], "which states mean that it is done?"));
        }
        if every.get().is_zero() {
            return Err(Wrong::at(["pager", "every"], "a wait is above 0"));
        }
        let in_file = !url.0.is_empty();
        if in_file != file.is_some() {
            let what = "url and file go together: where is the file, and where are its rows?";
            return Err(Wrong::at(["pager", "file"], what));
        }
        let create: [answer::Extra<'_>; 1] = [(Field::TaskId, &["pager", "id"], id)];
        let look: [answer::Extra<'_>; 2] =
            [(Field::TaskState, &["pager", "state"], state), (Field::TaskUrl, &["pager", "url"], url)];
        let texts =
            |OneOrMany(states): &OneOrMany<Scalar>| states.iter().map(|Scalar(s)| s.clone()).collect();
        let task = Task {
            created: answer::compile(answer, false, &create)?,
            poll,
            polled: answer::compile(answer, false, &look)?,
            done: texts(done),
            failed: texts(failed),
            every: every.get(),
            file: in_file,
        };
        let rows = match file {
            Some(file) => answer::file(file)?,
            None => answer::compile(answer, true, &[])?,
        };
        Ok((Pager::Task(Box::new(task)), rows))
    }

    fn split(&self, i: usize, document: SplitDoc) -> Result<Split, Wrong> {
        let SplitDoc { name, values, set } = document;
        let at = ["split_by", &i.to_string()];
        if values.len() < 2 {
            return Err(Wrong::at(["values"], "a dimension has two values at least").within(&at));
        }
        let set = Template::of_table(&set, self.scope(&PART))
            .map_err(|e| Wrong { path: e.path, what: e.what }.within(&["set"]).within(&at))?;
        if !set.names(&["value"]) {
            return Err(Wrong::at(["set"], "{value} is nowhere: all parts would be alike").within(&at));
        }
        Ok(Split { name, values: values.into_iter().map(|Scalar(value)| value).collect(), set })
    }
}

fn size(pager: &PagerDoc) -> Result<u32, Wrong> {
    let (size, most) = match pager {
        PagerDoc::Page { size, max_size, .. }
        | PagerDoc::Offset { size, max_size, .. }
        | PagerDoc::Cursor { size, max_size, .. }
        | PagerDoc::Link { size, max_size, .. } => {
            (*size, max_size.unwrap_or(LARGEST_PAGE).min(LARGEST_PAGE))
        }
        PagerDoc::Single {} | PagerDoc::Task(_) => return Ok(MOST_ROWS),
    };
    if !(1..=most).contains(&size) {
        return Err(Wrong::at(["pager", "size"], format!("{size}: a page holds 1 to {most} rows")));
    }
    Ok(size)
}

fn window(pager: &PagerDoc, size: u32) -> Result<Option<u32>, Wrong> {
    match pager {
        PagerDoc::Page { window, .. } | PagerDoc::Offset { window, .. } => match window {
            Some(window) if *window < size => {
                Err(Wrong::at(["pager", "window"], format!("{window}: not even one page of {size} rows")))
            }
            window => Ok(*window),
        },
        _ => Ok(None),
    }
}

/// The names of each group's columns, as the API knows them: the last parts of their paths.
pub(super) fn api_names(groups: &BTreeMap<String, Vec<ColumnDoc>>) -> BTreeMap<String, Vec<String>> {
    let name = |column: &ColumnDoc| {
        let path = column.path.as_ref().and_then(|OneOrMany(paths)| paths.first()).unwrap_or(&column.name);
        path.rsplit('.').next().unwrap_or(path).to_owned()
    };
    let from_rows = |column: &&ColumnDoc| column.param.is_none() && column.constant.is_none();
    let names = |columns: &Vec<ColumnDoc>| columns.iter().filter(from_rows).map(name).collect();
    groups.iter().map(|(group, columns)| (group.clone(), names(columns))).collect()
}
