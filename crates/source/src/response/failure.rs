//! A failure, and its class: what a response means that is no page.

use std::borrow::Cow;

use pagemill_core::{Failure, FailureClass};
use serde_json::value::RawValue;

use super::head::ResponseHead;
use crate::{
    decode::Envelope,
    definition::Definition,
    rules::{Signs, class_by_rules, classify, quota_by_rules},
    value::text_of,
};

/// The API's own message is cut to this many characters.
pub(super) const MESSAGE: usize = 200;

/// Some parts failed: the response is good, but no page.
pub(super) fn partial(
    definition: &Definition,
    head: &ResponseHead,
    envelope: &Envelope<'_>,
    failures: &str,
) -> Failure {
    let items: Vec<&RawValue> = serde_json::from_str(failures).unwrap_or_default();
    let first = items.first().map_or(failures, |raw| raw.get());
    let first = text_of(first).unwrap_or(Cow::Borrowed(first));
    let signs = Signs { status: head.status, code: envelope.code.as_deref(), message: Some(&first) };
    let class = class_by_rules(&definition.rules, signs).unwrap_or(FailureClass::Transient);
    let what =
        format!("parts failed ({}): {}{}", items.len().max(1), cut(&first, MESSAGE), of_request(envelope));
    Failure::new(class, what)
}

/// The API said no: its rules give the class, its own words the message.
pub(super) fn refused(
    definition: &Definition,
    head: &ResponseHead,
    envelope: &Envelope<'_>,
    body: &[u8],
) -> Failure {
    let Envelope { code, message, error, .. } = envelope;
    let own = error.filter(|raw| raw.starts_with('"')).and_then(text_of);
    let message = message.as_deref().or(own.as_deref());
    let signs = Signs { status: head.status, code: code.as_deref(), message };
    let mut what = format!("HTTP {}", head.status);
    if let Some(code) = code {
        what.push_str(&format!(", code {}", cut(code, 40)));
    }
    match (message, &head.location) {
        (Some(message), _) => what.push_str(&format!(": {}", cut(message, MESSAGE))),
        (None, Some(location)) => what.push_str(&format!(": a redirect to {location}, not followed")),
        (None, None) if code.is_none() => what.push_str(&beginning(body)),
        (None, None) => {}
    }
    what.push_str(&of_request(envelope));
    let quota = quota_by_rules(&definition.rules, signs);
    Failure { quota, ..Failure::new(classify(&definition.rules, signs), what) }
}

/// A good status over something else, as gateways send it when they are ill.
pub(super) fn not_readable(head: &ResponseHead, body: &[u8], what: &str, why: &str) -> Failure {
    let kind = head.content_type.as_deref().unwrap_or("no content type");
    // What begins as JSON holds rows: their values stay out of messages.
    let detail = match body.trim_ascii_start().first() {
        _ if what == "CSV" => format!(": {}", cut(why, MESSAGE)),
        Some(b'{' | b'[') => format!(": {why}"),
        Some(_) => beginning(body),
        None => ": empty".to_owned(),
    };
    let what = format!("HTTP {}, but no {what} ({}){detail}", head.status, cut(kind, 60));
    Failure::new(FailureClass::Transient, what)
}

/// The id of the request, to be added to a message.
pub(super) fn of_request(envelope: &Envelope<'_>) -> String {
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
pub(super) fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
