//! What travels beside a message's body. Our headers have our names; those of the broker are read,
//! never copied: 4.0 ignores a copied `x-death`.

use std::hash::{DefaultHasher, Hash, Hasher};

use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable, ShortString},
};
use pagemill_core::body_id;

use super::outgoing::Outgoing;
use crate::{dead_letter::DeadLetter, message::DeadNote, message::Message};

const ERROR: &str = "pagemill-error";
const FINGERPRINT: &str = "pagemill-fingerprint";
const ATTEMPTS: &str = "pagemill-attempts";
const FIRST_FAILED_AT: &str = "pagemill-first-failed-at";
const LAST_FAILED_AT: &str = "pagemill-last-failed-at";
/// Keeps the broker's reason when a letter it dead-lettered is kept, which publishes it again.
const BROKER_REASON: &str = "pagemill-broker-reason";
const PERSISTENT: u8 = 2;
/// Headers must fit into one frame, of 128 KB by default. The ledger has the whole error.
const LONGEST_ERROR: usize = 4_096;

pub(super) fn properties(Outgoing { message, broker_reason }: &Outgoing) -> BasicProperties {
    let Message { id, note, .. } = message;
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/json".into())
        .with_message_id(short(id));
    if note.is_none() && broker_reason.is_none() {
        return properties;
    }
    let mut headers = FieldTable::default();
    let mut put = |name: &str, value: &str| {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    };
    if let Some(note) = note {
        put(ERROR, shortened(&note.error));
        put(FINGERPRINT, &note.fingerprint);
        put(ATTEMPTS, &note.attempts.to_string());
        put(FIRST_FAILED_AT, &note.first_failed_at);
        put(LAST_FAILED_AT, &note.last_failed_at);
    }
    if let Some(reason) = broker_reason {
        put(BROKER_REASON, reason);
    }
    properties.with_headers(headers)
}

/// Reads a dead letter. The body's place in the delivery stays empty.
pub(super) fn dead_letter(delivery: &mut Delivery) -> DeadLetter {
    let body = std::mem::take(&mut delivery.data);
    let id = match delivery.properties.message_id() {
        Some(id) if !id.as_str().is_empty() => id.as_str().to_owned(),
        _ => unnamed(&body),
    };
    let headers = delivery.properties.headers().as_ref();
    DeadLetter {
        id,
        note: headers.and_then(note),
        broker_reason: headers.and_then(|h| text(h, BROKER_REASON).or_else(|| last_death(h))),
        body,
    }
}

/// An id for a message that came without one: the same for the same body.
fn unnamed(body: &[u8]) -> String {
    body_id("unnamed", body)
}

/// AMQP's ids end at 255 bytes: a longer one is cut, and its hash appended.
fn short(id: &str) -> ShortString {
    ShortString::try_new(id).unwrap_or_else(|_| {
        let begin = &id[..id.floor_char_boundary(200)];
        format!("{begin}…{:016x}", hash(id)).into()
    })
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn note(headers: &FieldTable) -> Option<DeadNote> {
    Some(DeadNote {
        error: text(headers, ERROR)?,
        fingerprint: text(headers, FINGERPRINT)?,
        attempts: text(headers, ATTEMPTS)?.parse().ok()?,
        first_failed_at: text(headers, FIRST_FAILED_AT)?,
        last_failed_at: text(headers, LAST_FAILED_AT)?,
    })
}

/// The latest of the deaths that the broker lists; earlier ones are returns from the retry tiers.
fn last_death(headers: &FieldTable) -> Option<String> {
    let AMQPValue::FieldArray(deaths) = headers.inner().get("x-death")? else { return None };
    let AMQPValue::FieldTable(death) = deaths.as_slice().first()? else { return None };
    text(death, "reason")
}

fn text(headers: &FieldTable, name: &str) -> Option<String> {
    match headers.inner().get(name)? {
        AMQPValue::LongString(value) => Some(value.to_string()),
        AMQPValue::ShortString(value) => Some(value.to_string()),
        _ => None,
    }
}

fn shortened(error: &str) -> &str {
    &error[..error.floor_char_boundary(LONGEST_ERROR)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_survives_the_headers() {
        let written = DeadNote {
            error: "HTTP 500 小红书".into(),
            fingerprint: "00c0ffee".into(),
            attempts: 5,
            first_failed_at: "2026-11-23T01:00:00Z".into(),
            last_failed_at: "2026-11-23T02:00:00Z".into(),
        };
        let message = Message { id: "1:2:0".into(), body: vec![], note: Some(written.clone()) };
        let properties = properties(&message.into());
        assert_eq!(properties.headers().as_ref().and_then(note), Some(written));
        assert_eq!(properties.delivery_mode(), &Some(PERSISTENT));
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let cut = shortened(&"小".repeat(2_000)).len();
        assert!(cut <= LONGEST_ERROR && cut > LONGEST_ERROR - 4);
    }

    #[test]
    fn ids_too_long_for_amqp_stay_apart() {
        let long = |end: &str| short(&format!("{}{end}", "小".repeat(100)));
        assert_eq!(short("1:2:0").as_str(), "1:2:0");
        assert_ne!(long("a"), long("b"));
    }

    #[test]
    fn a_message_without_an_id_is_named_by_its_body() {
        let letter =
            |body: &[u8]| dead_letter(&mut Delivery::mock(1, "".into(), "".into(), false, body.to_vec())).id;
        assert_eq!(letter(b"a"), letter(b"a"));
        assert_ne!(letter(b"a"), letter(b"b"));
    }
}
