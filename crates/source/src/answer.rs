//! What an answer means: a page, or a failure and its class.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use pagemill_core::{BodyDigest, Budget, CastFailure, Column, Failure, FailureClass, FetchedPage, Rows};
use reqwest::Url;
use serde_json::value::RawValue;

use crate::{
    decode::{self, DecodedRows, Envelope, Origin, RowPlan},
    definition::{Answer, Definition, Pager, Stream},
    link,
    params::Params,
    rules::{Signs, class_by_rules, classify, quota_by_rules},
    value::{Cell, text_of},
};

/// No answer has more rows.
pub(crate) const MOST_ROWS: u32 = 100_000;

/// No page of several has more rows, whatever was asked for.
const MOST_ROWS_OF_A_PAGE: u32 = 10_000;

/// The API's own message is cut to this many characters.
const MESSAGE: usize = 200;

/// What came before the body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    /// What its headers say is left.
    pub(crate) budget: Option<Budget>,
    /// What the header that states the total says.
    pub(crate) total: Option<String>,
    /// The header `Link`.
    pub(crate) link: Option<String>,
    /// What was asked for.
    pub(crate) url: Option<Url>,
    /// The body was kept, and the headers are gone.
    pub(crate) replayed: bool,
}

/// Reads an answer to a request for a page.
///
/// # Errors
/// A [`Failure`] of the class that the definition gives it.
pub(crate) fn page(
    definition: &Definition,
    stream: &Stream,
    params: &Params<'_>,
    received: &Received,
    body: Bytes,
) -> Result<FetchedPage, Failure> {
    let answer = &stream.answer;
    let text = good_text(definition, answer, received, &body)?;
    let text = match answer.csv {
        true => Cow::Owned(csv_as_json(text).map_err(|why| not(received, &body, "CSV", &why))?),
        false => Cow::Borrowed(text),
    };
    let most = match stream.pager {
        Pager::Single | Pager::Task(_) => MOST_ROWS,
        _ => MOST_ROWS_OF_A_PAGE.min(params.page_size.max(1).saturating_mul(2)),
    };
    let (envelope, rows) =
        decode::answer(&answer.plan, &stream.rows, &definition.reader, most as usize, &text)
            .map_err(|e| not(received, &body, "JSON", &e.to_string()))?;
    check(definition, answer, received, &envelope, &body)?;
    let of_request = |what: String| Failure::permanent(format!("{what}{}", request(&envelope)));
    let total = total(definition, stream, received, &envelope).map_err(of_request)?;
    let next = next(definition, stream, received, &envelope).map_err(of_request)?;
    let sums = envelope.sums.map(|raw| decode::sums(&stream.sums, &definition.reader, raw));
    let request_id = envelope.request_id.as_deref().map(|id| cut(id, MESSAGE));
    let imprint = if answer.csv { None } else { imprint(stream, &envelope, &text) };
    let (unmapped, absent) = (rows.unmapped.clone(), rows.absent.clone());
    let (rows, cast_failures) = rows_of(stream, params, rows).map_err(of_request)?;
    let all = matches!(stream.pager, Pager::Single | Pager::Task(_)).then_some(rows.len() as u64);
    Ok(FetchedPage {
        total: total.or(all),
        rows,
        next,
        sums: sums.unwrap_or_default(),
        request_id,
        body_digest: imprint,
        body: body.clone(),
        cast_failures,
        unmapped,
        absent,
        budget: received.budget,
    })
}

/// What an answer is known again by, where pages are told by their numbers and headers say nothing of them.
fn imprint(stream: &Stream, envelope: &Envelope<'_>, text: &str) -> Option<BodyDigest> {
    if !matches!(stream.pager, Pager::Page { .. } | Pager::Offset { .. })
        || stream.answer.total_header.is_some()
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

/// Reads an answer that holds no rows.
///
/// # Errors
/// As [`page`].
pub(crate) fn envelope<'b>(
    definition: &Definition,
    answer: &Answer,
    received: &Received,
    body: &'b [u8],
) -> Result<Envelope<'b>, Failure> {
    let text = good_text(definition, answer, received, body)?;
    let envelope =
        decode::envelope(&answer.plan, text).map_err(|e| not(received, body, "JSON", &e.to_string()))?;
    check(definition, answer, received, &envelope, body)?;
    Ok(envelope)
}

/// The body of an answer with a good status.
fn good_text<'b>(
    definition: &Definition,
    answer: &Answer,
    received: &Received,
    body: &'b [u8],
) -> Result<&'b str, Failure> {
    let text = std::str::from_utf8(body).ok();
    // A byte order mark is no JSON, but tables are exported with one.
    let text = text.map(|text| if answer.csv { text.trim_start_matches('\u{feff}') } else { text });
    let text = text.filter(|text| !text.starts_with('\u{feff}'));
    if !(200..300).contains(&received.status) {
        let envelope = text.and_then(|text| decode::envelope(&answer.plan, text).ok());
        return Err(refused(definition, received, &envelope.unwrap_or_default(), body));
    }
    text.ok_or_else(|| not(received, body, "JSON", "no UTF-8 text"))
}

/// An answer with a good status may still say that all is not well.
fn check(
    definition: &Definition,
    answer: &Answer,
    received: &Received,
    envelope: &Envelope<'_>,
    body: &[u8],
) -> Result<(), Failure> {
    match envelope.code.as_deref() {
        None if !answer.code.is_empty() && !answer.error => {
            let (status, path) = (received.status, answer.code.join(" or "));
            let what = format!("HTTP {status}, answer without code ({path}){}", request(envelope));
            return Err(Failure::transient(what));
        }
        Some(code) if !answer.ok.is_empty() && !answer.ok.iter().any(|ok| ok == code) => {
            return Err(refused(definition, received, envelope, body));
        }
        Some(_) | None => {}
    }
    if envelope.error.is_some() {
        return Err(refused(definition, received, envelope, body));
    }
    envelope.failures.map_or(Ok(()), |failures| Err(partial(definition, received, envelope, failures)))
}

/// Some parts failed: the answer is good, but no page.
fn partial(definition: &Definition, received: &Received, envelope: &Envelope<'_>, failures: &str) -> Failure {
    let items: Vec<&RawValue> = serde_json::from_str(failures).unwrap_or_default();
    let first = items.first().map_or(failures, |raw| raw.get());
    let first = text_of(first).unwrap_or(Cow::Borrowed(first));
    let signs = Signs { status: received.status, code: envelope.code.as_deref(), message: Some(&first) };
    let class = class_by_rules(&definition.rules, signs).unwrap_or(FailureClass::Transient);
    let what =
        format!("parts failed ({}): {}{}", items.len().max(1), cut(&first, MESSAGE), request(envelope));
    Failure::new(class, what)
}

fn total(
    definition: &Definition,
    stream: &Stream,
    received: &Received,
    envelope: &Envelope<'_>,
) -> Result<Option<u64>, String> {
    let Answer { total: paths, total_header, .. } = &stream.answer;
    let header = total_header.as_ref().map(|name| format!("header {name}"));
    let place = paths.iter().cloned().chain(header).collect::<Vec<_>>().join(" or ");
    let counted = matches!(stream.pager, Pager::Page { .. } | Pager::Offset { .. });
    match envelope.total.as_deref().or(received.total.as_deref()) {
        None if counted && !(received.replayed && total_header.is_some()) => {
            Err(format!("answer without total ({place})"))
        }
        None => Ok(None),
        Some(text) => {
            let number = definition.reader.grammar.number(text.trim()).and_then(|n| n.to_i64());
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
    received: &Received,
    envelope: &Envelope<'_>,
) -> Result<Option<String>, String> {
    let header = || received.link.as_deref().and_then(link::next);
    let link = match stream.pager {
        Pager::Cursor { more } => {
            let cursor = envelope.next.as_deref().filter(|_| !more || envelope.more.is_some());
            return Ok(cursor.map(str::to_owned));
        }
        Pager::Link { header: true } => header(),
        Pager::Link { header: false } => envelope.next.as_deref(),
        _ => None,
    };
    let Some(link) = link else { return Ok(None) };
    let url = received.url.as_ref().unwrap_or(definition.url()).join(link).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or("the link to the next page is no URL")?;
    Ok(Some(definition.storable(stream, url, &[]).into()))
}

/// Records as an array of objects of texts, which is read like any other answer.
fn csv_as_json(text: &str) -> Result<String, String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let quoted = |text: &str| serde_json::to_string(text).expect("text is always JSON");
    let keys: Vec<_> =
        reader.headers().map_err(|e| e.to_string())?.iter().map(|k| quoted(k.trim())).collect();
    let mut json = String::with_capacity(2 * text.len());
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| e.to_string())? {
        json.push_str(if json.is_empty() { "[{" } else { ",{" });
        for (i, (key, value)) in keys.iter().zip(&record).enumerate() {
            json.push_str(if i == 0 { "" } else { "," });
            json.push_str(key);
            json.push(':');
            json.push_str(&quoted(value));
        }
        json.push('}');
    }
    json.push_str(if json.is_empty() { "[]" } else { "]" });
    Ok(json)
}

/// The rows, with the columns that the request or the definition fills.
fn rows_of(
    stream: &Stream,
    params: &Params<'_>,
    decoded: DecodedRows,
) -> Result<(Rows, Vec<CastFailure>), String> {
    if !decoded.found {
        let Answer { rows, plan, .. } = &stream.answer;
        let kind = if plan.one { "object" } else { "array" };
        return Err(format!("answer without rows: {rows} is missing or no {kind}"));
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

/// The API said no: its rules give the class, its own words the message.
fn refused(definition: &Definition, received: &Received, envelope: &Envelope<'_>, body: &[u8]) -> Failure {
    let Envelope { code, message, error, .. } = envelope;
    let own = error.filter(|raw| raw.starts_with('"')).and_then(text_of);
    let message = message.as_deref().or(own.as_deref());
    let signs = Signs { status: received.status, code: code.as_deref(), message };
    let mut what = format!("HTTP {}", received.status);
    if let Some(code) = code {
        what.push_str(&format!(", code {}", cut(code, 40)));
    }
    match (message, &received.location) {
        (Some(message), _) => what.push_str(&format!(": {}", cut(message, MESSAGE))),
        (None, Some(location)) => what.push_str(&format!(": a redirect to {location}, not followed")),
        (None, None) if code.is_none() => what.push_str(&beginning(body)),
        (None, None) => {}
    }
    what.push_str(&request(envelope));
    let quota = quota_by_rules(&definition.rules, signs);
    Failure { quota, ..Failure::new(classify(&definition.rules, signs), what) }
}

/// A good status over something else, as gateways send it when they are ill.
fn not(received: &Received, body: &[u8], what: &str, why: &str) -> Failure {
    let kind = received.content_type.as_deref().unwrap_or("no content type");
    // What begins as JSON holds rows: their values stay out of messages.
    let detail = match body.trim_ascii_start().first() {
        _ if what == "CSV" => format!(": {}", cut(why, MESSAGE)),
        Some(b'{' | b'[') => format!(": {why}"),
        Some(_) => beginning(body),
        None => ": empty".to_owned(),
    };
    let what = format!("HTTP {}, but no {what} ({}){detail}", received.status, cut(kind, 60));
    Failure::new(FailureClass::Transient, what)
}

fn request(envelope: &Envelope<'_>) -> String {
    envelope.request_id.as_deref().map_or_else(String::new, |id| format!(" (request {})", cut(id, 64)))
}

/// The first 60 bytes that can be printed.
fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(240)]);
    let text: String =
        text.chars().map(|c| if c.is_control() || c == '\u{fffd}' { ' ' } else { c }).collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() { String::new() } else { format!(": {}", &text[..text.floor_char_boundary(60)]) }
}

/// At most so many characters, on one line.
fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
