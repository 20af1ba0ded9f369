use crate::{dead_letter::DeadLetter, message::Message};

/// A message to publish, and what a dead letter carries besides.
pub(super) struct Outgoing {
    pub(super) message: Message,
    pub(super) broker_reason: Option<String>,
}

impl From<Message> for Outgoing {
    fn from(message: Message) -> Self {
        Self { message, broker_reason: None }
    }
}

impl From<DeadLetter> for Outgoing {
    fn from(DeadLetter { id, body, note, broker_reason }: DeadLetter) -> Self {
        Self { message: Message { id, body, note }, broker_reason }
    }
}
