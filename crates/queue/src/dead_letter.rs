use std::collections::HashSet;

use crate::{error::QueueError, message::DeadNote};

/// Letters a sweep shows at a time.
pub(crate) const SWEEP_BATCH: usize = 500;

/// A message in the dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message's id; derived from the body for a message that came without one.
    pub id: String,
    /// The message as it was.
    pub body: Vec<u8>,
    /// Why it was given up, if it was by us.
    pub note: Option<DeadNote>,
    /// Why it was given up, if it was by the broker: `delivery_limit` and the like.
    pub broker_reason: Option<String>,
}

/// What a sweep does with a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterAction {
    /// It stays.
    Keep,
    /// It leaves for good.
    Drop,
}

/// Why a pass over the dead letters ended early. The letters it had not finished stay.
#[derive(Debug, thiserror::Error)]
pub enum SweepError<E: std::error::Error + 'static> {
    /// The queue failed, or another pass is under way.
    #[error("the dead letters cannot be swept")]
    Queue(#[from] QueueError),
    /// The caller could not decide on the dead letters.
    #[error("the actions for dead letters cannot be decided")]
    Decide(#[source] E),
}

/// The ids a pass has seen, so that a copy shares the action of the first.
#[derive(Default)]
pub(crate) struct Seen(HashSet<String>);

impl Seen {
    /// Takes the copies out of a batch: of those letters the first has been dealt with, or will be
    /// in this batch.
    pub(crate) fn first_copies(&mut self, letters: impl IntoIterator<Item = DeadLetter>) -> Vec<DeadLetter> {
        letters.into_iter().filter(|l| self.0.insert(l.id.clone())).collect()
    }
}

/// A decision without one action a letter would apply actions to the wrong letters.
pub(crate) fn check_actions(letters: usize, actions: usize) -> Result<(), QueueError> {
    if letters == actions {
        return Ok(());
    }
    Err(QueueError::invalid(format!("{letters} dead letters got {actions} actions: one each, in order")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::QueueErrorKind;

    #[test]
    fn copies_are_taken_out_within_and_across_batches() {
        let letter = |id: &str| DeadLetter { id: id.into(), body: vec![], note: None, broker_reason: None };
        let mut seen = Seen::default();
        let ids = |letters: Vec<DeadLetter>| letters.into_iter().map(|l| l.id).collect::<Vec<_>>();
        assert_eq!(ids(seen.first_copies(["a", "b", "a"].map(letter))), ["a", "b"]);
        assert_eq!(ids(seen.first_copies(["b", "c"].map(letter))), ["c"]);
    }

    #[test]
    fn every_letter_needs_its_action() {
        assert!(check_actions(2, 2).is_ok());
        assert_eq!(check_actions(2, 1).unwrap_err().kind(), QueueErrorKind::Invalid);
    }
}
