//! From lapin's errors to ours.

use lapin::ErrorKind;

use crate::{error::QueueError, error::QueueErrorKind};

// Reply codes of AMQP 0-9-1.
const ACCESS_REFUSED: u16 = 403;
const RESOURCE_LOCKED: u16 = 405;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// An error on an open connection.
pub(super) fn operation_error(error: &lapin::Error, doing: &str, place: &str) -> QueueError {
    let (kind, remedy) = match code(error) {
        Some(ACCESS_REFUSED) => (
            QueueErrorKind::Refused,
            "; give the user configure, write and read rights on ^pagemill (rabbitmqctl set_permissions)",
        ),
        Some(RESOURCE_LOCKED) => (QueueErrorKind::Busy, ""),
        Some(PRECONDITION_FAILED) => (
            QueueErrorKind::Conflict,
            "; it exists with other arguments: let it drain, delete it (rabbitmqctl delete_queue) and start again",
        ),
        _ => (QueueErrorKind::Unreachable, ""),
    };
    QueueError::new(kind, format!("RabbitMQ at {place}: {doing}: {error}{remedy}"))
}

/// An error of the connection attempt.
pub(super) fn connect_error(error: &lapin::Error, place: &str, user: &str) -> QueueError {
    let (kind, remedy) = match code(error) {
        Some(ACCESS_REFUSED) => (
            QueueErrorKind::Refused,
            format!(
                "the user {user} was refused: check user and password in amqp.url (guest may log in from localhost only)"
            ),
        ),
        Some(NOT_ALLOWED) => (
            QueueErrorKind::Refused,
            format!(
                "the vhost is unknown or closed to the user {user}: check amqp.url (the default vhost is written %2f), \
                 rabbitmqctl add_vhost, rabbitmqctl set_permissions"
            ),
        ),
        _ => (QueueErrorKind::Unreachable, "cannot connect: see that it runs, and check amqp.url".to_owned()),
    };
    QueueError::new(kind, format!("RabbitMQ at {place}: {remedy}: {error}"))
}

fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(e) => Some(e.get_id()),
        _ => None,
    }
}
