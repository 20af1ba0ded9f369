//! What an answer means: a page, or a failure and its class.

use bytes::Bytes;
use pagemill_core::{CastFailure, Column, Failure, FailureClass, FetchedPage, Rows};

use crate::{
    decode::{self, DecodedRows, Envelope, Origin, RowPlan},
    definition::{Definition, Stream},
    params::Params,
    rules::{Signs, classify},
    value::Cell,
};

/// No page has more rows, whatever was asked for.
const MOST_ROWS: usize = 10_000;

/// The API's own message is cut to this many characters.
const MESSAGE: usize = 200;

/// What came before the body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) location: Option<String>,
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
    let text = json_text(&body);
    if !(200..300).contains(&received.status) {
        let envelope = text.and_then(|text| decode::envelope(&definition.answer.plan, text).ok());
        return Err(refused(definition, received, &envelope.unwrap_or_default(), &body));
    }
    let Some(text) = text else { return Err(no_json(received, &body, "no UTF-8 text")) };
    let most = MOST_ROWS.min(2 * params.page_size.max(1) as usize);
    let (envelope, rows) =
        decode::answer(&definition.answer.plan, &stream.rows, &definition.reader, most, text)
            .map_err(|e| no_json(received, &body, &e.to_string()))?;
    check_code(definition, received, &envelope, &body)?;
    let total = total(definition, &envelope)?;
    let request_id = envelope.request_id.as_deref().map(|id| cut(id, MESSAGE));
    let (rows, cast_failures) = rows_of(definition, stream, params, rows)
        .map_err(|what| Failure::permanent(format!("{what}{}", request(&envelope))))?;
    Ok(FetchedPage {
        rows,
        total: Some(total),
        next: None,
        sums: Vec::new(),
        request_id,
        body,
        cast_failures,
        unmapped: Vec::new(),
        absent: Vec::new(),
    })
}

fn json_text(body: &[u8]) -> Option<&str> {
    std::str::from_utf8(body).ok().filter(|text| !text.starts_with('\u{feff}'))
}

fn check_code(
    definition: &Definition,
    received: &Received,
    envelope: &Envelope<'_>,
    body: &Bytes,
) -> Result<(), Failure> {
    let answer = &definition.answer;
    match envelope.code.as_deref() {
        _ if answer.code.is_empty() => Ok(()),
        Some(code) if answer.ok.iter().any(|ok| ok == code) => Ok(()),
        Some(_) => Err(refused(definition, received, envelope, body)),
        None => {
            let (status, path) = (received.status, answer.code.join(" or "));
            Err(Failure::transient(format!(
                "HTTP {status}, answer without code ({path}){}",
                request(envelope)
            )))
        }
    }
}

fn total(definition: &Definition, envelope: &Envelope<'_>) -> Result<u64, Failure> {
    let path = definition.answer.total.join(" or ");
    let Some(text) = envelope.total.as_deref() else {
        return Err(Failure::permanent(format!("answer without total ({path}){}", request(envelope))));
    };
    let number = definition.reader.grammar.number(text.trim()).and_then(|n| n.to_i64());
    number.and_then(|n| u64::try_from(n).ok()).ok_or_else(|| {
        let text = cut(text, 40);
        Failure::permanent(format!("the total ({path}) is no number: \"{text}\"{}", request(envelope)))
    })
}

/// The rows, with the columns that the request or the definition fills.
fn rows_of(
    definition: &Definition,
    stream: &Stream,
    params: &Params<'_>,
    decoded: DecodedRows,
) -> Result<(Rows, Vec<CastFailure>), String> {
    if !decoded.found {
        return Err(format!("answer without rows: {} is missing or no array", definition.answer.rows));
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
    let Envelope { code, message, .. } = envelope;
    let signs = Signs { status: received.status, code: code.as_deref(), message: message.as_deref() };
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
    Failure::new(classify(&definition.rules, signs), what)
}

/// A good status over something else, as gateways send it when they are ill.
fn no_json(received: &Received, body: &[u8], why: &str) -> Failure {
    let kind = received.content_type.as_deref().unwrap_or("no content type");
    // What begins as JSON holds rows: their values stay out of messages.
    let detail = match body.trim_ascii_start().first() {
        Some(b'{' | b'[') => format!(": {why}"),
        Some(_) => beginning(body),
        None => ": empty".to_owned(),
    };
    let what = format!("HTTP {}, but no JSON ({}){detail}", received.status, cut(kind, 60));
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
