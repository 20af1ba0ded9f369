//! What a response means: a page, or a failure and its class.

mod csv;
mod failure;
mod head;

use std::borrow::Cow;

use bytes::Bytes;
use pagemill_core::{BodyDigest, CastFailure, Column, Failure, FetchedPage, PageJob, Rows};

use self::failure::{MESSAGE, cut, not_readable, of_request, partial, refused};
pub(crate) use self::head::ResponseHead;
use crate::{
    decode::{self, DecodedRows, Envelope, MOST_ROWS, Origin, RowPlan},
    definition::{Definition, Pager, ResponsePlan, Stream},
    link,
    params::Params,
    value::Cell,
};

/// No page of several has more rows, whatever was requested.
const MOST_ROWS_OF_A_PAGE: u32 = 10_000;

/// Reads a response to a request for a page.
///
/// # Errors
/// A [`Failure`] of the class that the definition gives it.
pub(crate) fn page(
    definition: &Definition,
    stream: &Stream,
    params: &Params<'_>,
    head: &ResponseHead,
    body: Bytes,
) -> Result<FetchedPage, Failure> {
    let response = &stream.response;
    let text = good_text(definition, response, head, &body)?;
    let text = match response.csv {
        true => Cow::Owned(csv::as_json(text).map_err(|why| not_readable(head, &body, "CSV", &why))?),
        false => Cow::Borrowed(text),
    };
    let most = match stream.pager {
        Pager::Single | Pager::Task(_) => MOST_ROWS,
        _ => MOST_ROWS_OF_A_PAGE.min(params.page_size.max(1).saturating_mul(2)),
    };
    let (envelope, rows) =
        decode::page(&response.envelope, &stream.rows, &definition.reader, most as usize, &text)
            .map_err(|e| not_readable(head, &body, "JSON", &e.to_string()))?;
    check(definition, response, head, &envelope, &body)?;
    let of_request = |what: String| Failure::permanent(format!("{what}{}", of_request(&envelope)));
    let total = total(definition, stream, head, &envelope).map_err(of_request)?;
    let next = next(definition, stream, head, &envelope).map_err(of_request)?;
    let sums = envelope.sums.map(|raw| decode::sums(&stream.sums, &definition.reader, raw));
    let request_id = envelope.request_id.as_deref().map(|id| cut(id, MESSAGE));
    let body_digest = if response.csv { None } else { body_digest(stream, &envelope, &text) };
    let (unmapped, absent) = (rows.unmapped.clone(), rows.absent.clone());
    let (rows, cast_failures) = rows_of(stream, params, rows).map_err(of_request)?;
    let all = matches!(stream.pager, Pager::Single | Pager::Task(_)).then_some(rows.len() as u64);
    Ok(FetchedPage {
        total: total.or(all),
        rows,
        next,
        sums: sums.unwrap_or_default(),
        request_id,
        body_digest,
        body: body.clone(),
        cast_failures,
        unmapped,
        absent,
        budget: head.budget,
    })
}

/// Digest of the body, where pages are told by their numbers and headers say nothing of them.
fn body_digest(stream: &Stream, envelope: &Envelope<'_>, text: &str) -> Option<BodyDigest> {
    if !matches!(stream.pager, Pager::Page { .. } | Pager::Offset { .. })
        || stream.response.total_header.is_some()
    {
        return None;
    }
    let id = match &envelope.request_id {
        None => None,
        Some(Cow::Borrowed(id)) => {
            let start = decode::place(text, id);
            Some(start..start + id.len())
        }
        Some(Cow::Owned(_)) => return None,
    };
    BodyDigest::new(text.as_bytes(), id)
}

impl Definition {
    /// Decodes a stored body of a page, as [`crate::Client::fetch`] did: a table is rebuilt from the bodies kept,
    /// without a request.
    ///
    /// # Errors
    /// What is wrong with the response.
    pub fn decode(&self, job: &PageJob, body: Bytes) -> Result<FetchedPage, Failure> {
        let stream = self.stream_of(job)?;
        let head = ResponseHead { status: 200, replayed: true, ..ResponseHead::default() };
        page(self, stream, &stream.params(job)?, &head, body)
    }
}

/// Reads a response that holds no rows.
///
/// # Errors
/// As [`page`].
pub(crate) fn envelope<'b>(
    definition: &Definition,
    response: &ResponsePlan,
    head: &ResponseHead,
    body: &'b [u8],
) -> Result<Envelope<'b>, Failure> {
    let text = good_text(definition, response, head, body)?;
    let envelope = decode::envelope(&response.envelope, text)
        .map_err(|e| not_readable(head, body, "JSON", &e.to_string()))?;
    check(definition, response, head, &envelope, body)?;
    Ok(envelope)
}

/// The body of a response with a good status.
fn good_text<'b>(
    definition: &Definition,
    response: &ResponsePlan,
    head: &ResponseHead,
    body: &'b [u8],
) -> Result<&'b str, Failure> {
    let text = std::str::from_utf8(body).ok();
    // A byte order mark is no JSON, but tables are exported with one.
    let text = text.map(|text| if response.csv { text.trim_start_matches('\u{feff}') } else { text });
    let text = text.filter(|text| !text.starts_with('\u{feff}'));
    if !(200..300).contains(&head.status) {
        let envelope = text.and_then(|text| decode::envelope(&response.envelope, text).ok());
        return Err(refused(definition, head, &envelope.unwrap_or_default(), body));
    }
    text.ok_or_else(|| not_readable(head, body, "JSON", "no UTF-8 text"))
}

/// A response with a good status may still say that all is not well.
fn check(
    definition: &Definition,
    response: &ResponsePlan,
    head: &ResponseHead,
    envelope: &Envelope<'_>,
    body: &[u8],
) -> Result<(), Failure> {
    match envelope.code.as_deref() {
        None if !response.code.is_empty() && !response.error => {
            let (status, path) = (head.status, response.code.join(" or "));
            let what = format!("HTTP {status}, response without code ({path}){}", of_request(envelope));
            return Err(Failure::transient(what));
        }
        Some(code) if !response.ok.is_empty() && !response.ok.iter().any(|ok| ok == code) => {
            return Err(refused(definition, head, envelope, body));
        }
        Some(_) | None => {}
    }
    if envelope.error.is_some() {
        return Err(refused(definition, head, envelope, body));
    }
    envelope.partial_failures.map_or(Ok(()), |failures| Err(partial(definition, head, envelope, failures)))
}

fn total(
    definition: &Definition,
    stream: &Stream,
    head: &ResponseHead,
    envelope: &Envelope<'_>,
) -> Result<Option<u64>, String> {
    let ResponsePlan { total: paths, total_header, .. } = &stream.response;
    let header = total_header.as_ref().map(|name| format!("header {name}"));
    let place = paths.iter().cloned().chain(header).collect::<Vec<_>>().join(" or ");
    let counted = matches!(stream.pager, Pager::Page { .. } | Pager::Offset { .. });
    match envelope.total.as_deref().or(head.total.as_deref()) {
        None if counted && !(head.replayed && total_header.is_some()) => {
            Err(format!("response without total ({place})"))
        }
        None => Ok(None),
        Some(text) => {
            let number = definition.reader.numbers.number(text.trim()).and_then(|n| n.to_i64());
            let number = number.and_then(|n| u64::try_from(n).ok());
            let wrong = || format!("the total ({place}) is no number: \"{}\"", cut(text, 40));
            number.map(Some).ok_or_else(wrong)
        }
    }
}

/// Cursor or link of the next page.
fn next(
    definition: &Definition,
    stream: &Stream,
    head: &ResponseHead,
    envelope: &Envelope<'_>,
) -> Result<Option<String>, String> {
    let header = || head.link.as_deref().and_then(link::next);
    let link = match stream.pager {
        Pager::Cursor { has_more } => {
            let cursor = envelope.next.as_deref().filter(|_| !has_more || envelope.has_more.is_some());
            return Ok(cursor.map(str::to_owned));
        }
        Pager::Link { in_header: true } => header(),
        Pager::Link { in_header: false } => envelope.next.as_deref(),
        _ => None,
    };
    let Some(link) = link else { return Ok(None) };
    let url = head.url.as_ref().unwrap_or(definition.url()).join(link).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or("the link to the next page is no URL")?;
    Ok(Some(definition.storable(stream, url, &[]).into()))
}

/// The rows, with the columns that the request or the definition fills.
fn rows_of(
    stream: &Stream,
    params: &Params<'_>,
    decoded: DecodedRows,
) -> Result<(Rows, Vec<CastFailure>), String> {
    if !decoded.found {
        let ResponsePlan { rows, envelope, .. } = &stream.response;
        let kind = if envelope.single_row { "object" } else { "array" };
        return Err(format!("response without rows: {rows} is missing or no {kind}"));
    }
    if let Some(problem) = decoded.problem {
        return Err(problem);
    }
    let DecodedRows { len, mut columns, casts, .. } = decoded;
    fill(&stream.rows, params, len, &mut columns).map_err(|failure| failure.message)?;
    Ok((Rows::new(len, columns), casts))
}

fn fill(plan: &RowPlan, params: &Params<'_>, len: usize, columns: &mut [Column]) -> Result<(), Failure> {
    for (plan, column) in plan.columns.iter().zip(columns) {
        let cell = match (&plan.origin, &column) {
            (Origin::Row(_), _) => continue,
            (Origin::Const(cell), _) => cell.clone(),
            (Origin::Account, Column::Bigint(_)) => Cell::Bigint(params.account_number()?),
            (Origin::Account, _) => Cell::Text(params.account.to_owned()),
            (Origin::From, Column::Date(_)) => Cell::Date(params.from),
            (Origin::From, _) => Cell::Text(params.from.to_string()),
            (Origin::To, Column::Date(_)) => Cell::Date(params.to),
            (Origin::To, _) => Cell::Text(params.to.to_string()),
        };
        (0..len).for_each(|_| cell.push(column));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
