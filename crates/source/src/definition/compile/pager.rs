//! Checks `pager`: how pages follow one another.

use super::{
    request, response,
    shared::{NAMES, Shared, with},
};
use crate::{
    decode::{Field, MOST_ROWS},
    definition::{
        document::{
            pager::{PagerDoc, TaskDoc},
            response::ResponseDoc,
            serde_helpers::{OneOrMany, Scalar},
        },
        error::Wrong,
        pager::{Pager, Task},
        response::ResponsePlan,
    },
    request::RequestPlan,
};

/// No page is planned larger.
const LARGEST_PAGE: u32 = 10_000;

/// Besides the names of requests for pages, in the request that polls a task.
const TASK: [&str; 10] = with(NAMES, "task");

/// Checks a pager, and where the responses that hold rows keep what.
pub(super) fn compile(
    source: &Shared<'_>,
    pager: &PagerDoc,
    document: &ResponseDoc,
    request: &RequestPlan,
) -> Result<(Pager, ResponsePlan), Wrong> {
    let named = |name: &str| match request.names(&[name]) {
        true => Ok(()),
        false => {
            let at = if request.body.is_some() { "body" } else { "query" };
            Err(Wrong::at([at], format!("{{{name}}} is nowhere: every request would get the same page")))
        }
    };
    let rows = |extra: &[response::Extra<'_>]| response::compile(document, true, extra);
    Ok(match pager {
        PagerDoc::Page { first_page, .. } => {
            named("page")?;
            (Pager::Page { first: *first_page }, with_total(rows(&[])?)?)
        }
        PagerDoc::Offset { first_offset, .. } => {
            named("offset")?;
            (Pager::Offset { first: *first_offset }, with_total(rows(&[])?)?)
        }
        PagerDoc::Cursor { next, has_more, .. } => {
            named("cursor")?;
            let extra: [response::Extra<'_>; 2] =
                [(Field::Next, &["pager", "next"], next), (Field::HasMore, &["pager", "has_more"], has_more)];
            (Pager::Cursor { has_more: !has_more.0.is_empty() }, rows(&extra)?)
        }
        PagerDoc::Link { next, link_header, .. } => {
            if next.0.is_empty() != *link_header {
                return Err(Wrong::at(["pager"], "write either next = \"path\" or link_header = true"));
            }
            let extra: [response::Extra<'_>; 1] = [(Field::Next, &["pager", "next"], next)];
            (Pager::Link { in_header: *link_header }, rows(&extra)?)
        }
        PagerDoc::Single {} => (Pager::Single, rows(&[])?),
        PagerDoc::Task(pager) => task(source, pager, document)?,
    })
}

/// Pages told by numbers are counted by the total.
fn with_total(response: ResponsePlan) -> Result<ResponsePlan, Wrong> {
    if response.total.is_empty() && response.total_header.is_none() {
        let what = "where does a response state the total? The pager counts by it";
        return Err(Wrong::at(["response", "total"], what));
    }
    Ok(response)
}

fn task(
    source: &Shared<'_>,
    document: &TaskDoc,
    response: &ResponseDoc,
) -> Result<(Pager, ResponsePlan), Wrong> {
    let TaskDoc { task_id, poll, state, done, failed, file_url, poll_every, file } = document;
    let poll = request::compile(poll, source.base_url, source.scope(&TASK))
        .map_err(|e| e.within(&["pager", "poll"]))?;
    if !poll.names(&["task"]) {
        return Err(Wrong::at(["pager", "poll"], "{task} is nowhere: which task is polled?"));
    }
    if done.0.is_empty() {
        return Err(Wrong::at(["pager", "done"], "which states mean that it is done?"));
    }
    if poll_every.get().is_zero() {
        return Err(Wrong::at(["pager", "poll_every"], "a wait is above 0"));
    }
    let in_file = !file_url.0.is_empty();
    if in_file != file.is_some() {
        let what = "file_url and file go together: where is the file, and where are its rows?";
        return Err(Wrong::at(["pager", "file"], what));
    }
    let created: [response::Extra<'_>; 1] = [(Field::TaskId, &["pager", "task_id"], task_id)];
    let polled: [response::Extra<'_>; 2] = [
        (Field::TaskState, &["pager", "state"], state),
        (Field::TaskFileUrl, &["pager", "file_url"], file_url),
    ];
    let texts = |OneOrMany(states): &OneOrMany<Scalar>| states.iter().map(|Scalar(s)| s.clone()).collect();
    let task = Task {
        created: response::compile(response, false, &created)?,
        poll,
        polled: response::compile(response, false, &polled)?,
        done: texts(done),
        failed: texts(failed),
        poll_every: poll_every.get(),
        file: in_file,
    };
    let rows = match file {
        Some(file) => response::file(file)?,
        None => response::compile(response, true, &[])?,
    };
    Ok((Pager::Task(Box::new(task)), rows))
}

/// Rows a page.
pub(super) fn size(pager: &PagerDoc) -> Result<u32, Wrong> {
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

/// The deepest row that the API shows.
pub(super) fn max_result_window(pager: &PagerDoc, size: u32) -> Result<Option<u32>, Wrong> {
    let (PagerDoc::Page { max_result_window, .. } | PagerDoc::Offset { max_result_window, .. }) = pager
    else {
        return Ok(None);
    };
    match max_result_window {
        Some(window) if *window < size => {
            let what = format!("{window}: not even one page of {size} rows");
            Err(Wrong::at(["pager", "max_result_window"], what))
        }
        window => Ok(*window),
    }
}
