//! What may leave the ledger, and when.

use std::time::Duration;

/// The time for which the ledger keeps attempts and their data. A kind without a time is kept for ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retention {
    /// Attempts, their pages, and everything of them.
    pub history: Option<Duration>,
    /// Their raw responses; these go with the pages at the latest.
    pub responses: Option<Duration>,
}

/// An attempt at a slice, with all its parts, as far as pruning depends on it.
#[derive(Clone, Copy, Debug)]
pub struct PruneCandidate {
    /// Since when it is closed; `None` while it or a part of it is open.
    pub closed: Option<Duration>,
    /// Dead letters of it wait for an operator: requeued, their pages are sealed with the others.
    pub dead_wait: bool,
    /// It is the newest at its slice, the table has its rows, or an open attempt is compared with it.
    pub stands: bool,
}

/// What becomes of an attempt. Each action contains the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PruneAction {
    /// It stays as it is.
    Stays,
    /// The responses are deleted.
    LosesResponses,
    /// The pages are deleted too; the partition and its proof stay.
    LosesPages,
    /// The attempt is deleted, with all that the ledger has of it.
    Goes,
}

impl Retention {
    /// What becomes of an attempt.
    pub fn action(&self, attempt: &PruneCandidate) -> PruneAction {
        let Some(closed) = attempt.closed.filter(|_| !attempt.dead_wait) else { return PruneAction::Stays };
        let over = |limit: Option<Duration>| limit.is_some_and(|limit| closed >= limit);
        match (over(self.history), attempt.stands) {
            (true, false) => PruneAction::Goes,
            (true, true) => PruneAction::LosesPages,
            (false, _) if over(self.responses) => PruneAction::LosesResponses,
            (false, _) => PruneAction::Stays,
        }
    }

    /// Nothing that closed later is touched; `None` if nothing is.
    pub fn shortest(&self) -> Option<Duration> {
        [self.history, self.responses].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn what_becomes_of_attempts() {
        let both = (Some(90), Some(30));
        for ((history, responses), closed, dead_wait, stands, action) in [
            (both, Some(29), false, false, PruneAction::Stays),
            (both, Some(30), false, false, PruneAction::LosesResponses),
            (both, Some(89), false, true, PruneAction::LosesResponses),
            (both, Some(90), false, true, PruneAction::LosesPages),
            (both, Some(90), false, false, PruneAction::Goes),
            // What is open, or waits for an operator, stays, however old.
            (both, None, false, false, PruneAction::Stays),
            (both, Some(900), true, false, PruneAction::Stays),
            ((Some(90), None), Some(89), false, false, PruneAction::Stays),
            ((Some(90), None), Some(90), false, true, PruneAction::LosesPages),
            ((None, Some(30)), Some(900), false, false, PruneAction::LosesResponses),
            ((None, None), Some(900), false, false, PruneAction::Stays),
            // Responses without their pages would be of no use.
            ((Some(30), Some(90)), Some(30), false, true, PruneAction::LosesPages),
        ] {
            let retention =
                Retention { history: history.map(|n| n * DAY), responses: responses.map(|n| n * DAY) };
            let attempt = PruneCandidate { closed: closed.map(|n: u32| n * DAY), dead_wait, stands };
            assert_eq!(retention.action(&attempt), action, "{retention:?} {attempt:?}");
        }
    }
}
