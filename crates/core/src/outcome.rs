use std::time::Duration;

use crate::{ConfigDuration, Failure, FailureClass};

/// How the work on one delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Committed, and what follows from it (expansion, seal) is ensured.
    Stored,
    /// The ledger already has it, or no longer wants it.
    Duplicate,
    /// Fetching, decoding or storing failed.
    Failed(Failure),
    /// PostgreSQL or the broker is away, or the quota is shut: nobody's fault, no attempt spent.
    Unavailable,
    /// Cancelled before it was done.
    Cancelled,
}

/// How a delivery ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Done with it.
    Ack,
    /// Publish to a rung of the retry ladder, then ack.
    RetryLater {
        /// Index into the ladder.
        rung: usize,
        /// Failed attempts that the retried message carries.
        attempt: u32,
    },
    /// Record as dead, publish to the dead-letter queue, then ack.
    DeadLetter(Failure),
    /// Return to the queue as it was.
    GiveBack,
}

/// How often a job is tried and how long it waits in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySchedule {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// The ladder's delays, shortest first; the last one repeats.
    pub delays: Vec<ConfigDuration>,
}

impl RetrySchedule {
    /// The rung for a job that failed `attempt` times (from 1).
    pub fn rung(&self, attempt: u32) -> usize {
        (attempt.max(1) as usize - 1).min(self.delays.len().saturating_sub(1))
    }

    /// The last rung that waits no longer than `wait`, or the shortest.
    pub fn rung_within(&self, wait: Duration) -> usize {
        self.delays.iter().rposition(|d| d.get() <= wait).unwrap_or(0)
    }

    /// The first rung that waits at least `wait`, or the longest.
    pub fn rung_for(&self, wait: Duration) -> usize {
        let longest = self.delays.len().saturating_sub(1);
        self.delays.iter().position(|d| d.get() >= wait).unwrap_or(longest)
    }
}

/// Decides how a delivery ends. Pure: the ledger has counted `attempts` (this failure included).
pub fn settlement_for(outcome: &Outcome, attempts: u32, schedule: &RetrySchedule) -> Settlement {
    match outcome {
        Outcome::Stored | Outcome::Duplicate => Settlement::Ack,
        Outcome::Unavailable | Outcome::Cancelled => Settlement::GiveBack,
        Outcome::Failed(failure) => match failure.class {
            FailureClass::Throttled => Settlement::RetryLater {
                rung: schedule.rung_for(failure.retry_after.unwrap_or_default()),
                attempt: attempts,
            },
            FailureClass::Permanent => Settlement::DeadLetter(failure.clone()),
            FailureClass::Transient | FailureClass::Token if attempts >= schedule.attempts => {
                Settlement::DeadLetter(failure.clone())
            }
            FailureClass::Transient | FailureClass::Token => {
                Settlement::RetryLater { rung: schedule.rung(attempts), attempt: attempts }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> RetrySchedule {
        let delays = ["1s", "10s", "1m", "10m"].map(|d| d.parse().unwrap()).to_vec();
        RetrySchedule { attempts: 5, delays }
    }

    #[test]
    fn the_table() {
        let failed = |class| Outcome::Failed(Failure::new(class, "x"));
        let retry = |rung, attempt| Settlement::RetryLater { rung, attempt };
        let dead = |class| Settlement::DeadLetter(Failure::new(class, "x"));
        use FailureClass::{Permanent, Throttled, Token, Transient};
        for (outcome, attempts, expected) in [
            (Outcome::Stored, 0, Settlement::Ack),
            (Outcome::Duplicate, 3, Settlement::Ack),
            (Outcome::Unavailable, 4, Settlement::GiveBack),
            (Outcome::Cancelled, 5, Settlement::GiveBack),
            (failed(Transient), 1, retry(0, 1)),
            (failed(Transient), 2, retry(1, 2)),
            (failed(Transient), 4, retry(3, 4)),
            (failed(Transient), 5, dead(Transient)),
            (failed(Token), 1, retry(0, 1)),
            (failed(Token), 5, dead(Token)),
            (failed(Permanent), 1, dead(Permanent)),
            (failed(Throttled), 0, retry(0, 0)),
            (failed(Throttled), 9, retry(0, 9)),
        ] {
            assert_eq!(
                settlement_for(&outcome, attempts, &schedule()),
                expected,
                "{outcome:?} after {attempts}"
            );
        }
    }

    #[test]
    fn a_long_throttle_waits_on_a_long_rung() {
        let rung = |secs| schedule().rung_for(Duration::from_secs(secs));
        assert_eq!([rung(0), rung(1), rung(2), rung(60), rung(61), rung(9999)], [0, 0, 1, 2, 3, 3]);
    }

    #[test]
    fn a_parked_job_comes_back_in_time() {
        let rung = |secs| schedule().rung_within(Duration::from_secs(secs));
        assert_eq!([rung(0), rung(1), rung(9), rung(10), rung(599), rung(9999)], [0, 0, 0, 1, 2, 3]);
    }

    #[test]
    fn the_last_rung_repeats() {
        assert_eq!((1..=7).map(|n| schedule().rung(n)).collect::<Vec<_>>(), [0, 1, 2, 3, 3, 3, 3]);
    }
}
