//! What a response says about itself: code, message, request id, total.

use std::borrow::Cow;

use super::{
    cursor_fields,
    envelope_plan::{EnvelopePlan, Field},
    fields,
    rows::RowsDecoder,
};
use crate::value::text_of;

/// What a response said about itself. Texts but for what may be an object or array: raw JSON.
#[derive(Debug, Default)]
pub(crate) struct Envelope<'de> {
    pub(crate) code: Option<Cow<'de, str>>,
    pub(crate) message: Option<Cow<'de, str>>,
    pub(crate) request_id: Option<Cow<'de, str>>,
    pub(crate) total: Option<Cow<'de, str>>,
    pub(crate) error: Option<&'de str>,
    pub(crate) partial_failures: Option<&'de str>,
    pub(crate) sums: Option<&'de str>,
    pub(crate) next: Option<Cow<'de, str>>,
    pub(crate) has_more: Option<&'de str>,
    pub(crate) task_id: Option<Cow<'de, str>>,
    pub(crate) task_state: Option<Cow<'de, str>>,
    pub(crate) task_file_url: Option<Cow<'de, str>>,
}

/// Reads a response; its rows go to the decoder.
pub(super) fn with_rows<'de>(
    plan: &EnvelopePlan,
    rows: &mut RowsDecoder<'_, 'de>,
    text: &'de str,
) -> Result<Envelope<'de>, serde_json::Error> {
    match cursor_fields::read(plan, rows, text) {
        Some(found) => Ok(Envelope::new(plan, &found)),
        None => with_rows_parsed(plan, rows, text),
    }
}

/// Reads a response by the parser alone.
pub(super) fn with_rows_parsed<'de>(
    plan: &EnvelopePlan,
    rows: &mut RowsDecoder<'_, 'de>,
    text: &'de str,
) -> Result<Envelope<'de>, serde_json::Error> {
    Ok(Envelope::new(plan, &fields::read(plan, Some(rows), text)?))
}

/// Reads a response, and passes over its rows.
pub(super) fn without_rows<'de>(
    plan: &EnvelopePlan,
    text: &'de str,
) -> Result<Envelope<'de>, serde_json::Error> {
    Ok(Envelope::new(plan, &fields::read(plan, None, text)?))
}

impl<'de> Envelope<'de> {
    /// Takes the fields from the raw values by their leaves.
    fn new(plan: &EnvelopePlan, found: &[Option<&'de str>]) -> Self {
        let raw = |field: Field| {
            let present = |&leaf: &usize| found[leaf].filter(|raw: &&str| *raw != "null");
            plan.fields[field as usize].iter().find_map(present)
        };
        let text = |field| raw(field).and_then(text_of);
        let filled = |field| text(field).filter(|text| !text.is_empty());
        Self {
            code: text(Field::Code),
            message: filled(Field::Message),
            request_id: filled(Field::RequestId),
            total: text(Field::Total),
            error: raw(Field::Error).filter(|raw| !is_empty(raw)),
            partial_failures: raw(Field::PartialFailures).filter(|raw| !is_empty(raw)),
            sums: raw(Field::Sums),
            next: filled(Field::Next),
            has_more: raw(Field::HasMore).filter(|raw| *raw != "false"),
            task_id: filled(Field::TaskId),
            task_state: text(Field::TaskState),
            task_file_url: filled(Field::TaskFileUrl),
        }
    }
}

/// Whether a raw value says nothing: some APIs send an empty error with every response.
fn is_empty(raw: &str) -> bool {
    matches!(raw, "\"\"" | "false")
        || matches!(raw.as_bytes(), [b'[', inner @ .., b']'] | [b'{', inner @ .., b'}'] if inner.trim_ascii().is_empty())
}
