use std::time::Duration;

use crate::{
    config_duration::ConfigDuration, failure::Failure, failure::FailureClass, page_outcome::PageOutcome,
};

/// How a delivery is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Ack it.
    Ack,
    /// Publish the job to a retry tier, then ack.
    Retry {
        /// Index into the tiers.
        tier: usize,
    },
    /// Publish the job to the longest retry tier that is no longer than this time (else the shortest), then ack. No
    /// attempt is spent.
    Snooze(Duration),
    /// Record the page as dead, publish it to the dead-letter queue, then ack.
    DeadLetter(Failure),
    /// Record the message itself as dead, for it names no page of this ledger; publish it to the dead-letter
    /// queue, then ack.
    DeadLetterMessage(String),
    /// Return it to its queue as it was.
    Nack,
}

/// What settling goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlementPolicy {
    /// The attempts at a job, and the waits between them.
    pub schedule: RetrySchedule,
    /// True in a producer: a job whose source's quota is used up is snoozed, and so passes to the consumers. A
    /// consumer returns such a job to its queue.
    pub snooze_exhausted: bool,
}

/// The attempts at a job, and the waits between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySchedule {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// The retry tiers' delays, shortest first; the last one repeats.
    pub delays: Vec<ConfigDuration>,
}

/// Decides how a delivery is settled. Pure: the ledger has counted `attempts`, this failure included.
pub fn settlement_for(outcome: &PageOutcome, attempts: u32, policy: &SettlementPolicy) -> Settlement {
    let schedule = &policy.schedule;
    match outcome {
        PageOutcome::Stored | PageOutcome::AlreadyDone | PageOutcome::AlreadyDead | PageOutcome::Obsolete => {
            Settlement::Ack
        }
        PageOutcome::Failed(failure) | PageOutcome::RestartTask(failure) => {
            after_failure(failure, attempts, schedule)
        }
        PageOutcome::Poisoned { crashes } => {
            let what = format!("killed its process {crashes} times while it ran alone");
            Settlement::DeadLetter(Failure::permanent(what))
        }
        PageOutcome::Preparing { wait, .. } | PageOutcome::QuotaWait(wait) => Settlement::Snooze(*wait),
        PageOutcome::QuotaExhausted(wait) if policy.snooze_exhausted => Settlement::Snooze(*wait),
        PageOutcome::UnknownStream | PageOutcome::NewerVersion(_) => Settlement::Snooze(Duration::MAX),
        PageOutcome::UnknownPartition(partition) => {
            let what = format!("the ledger has no partition {partition}: is this the right database?");
            Settlement::DeadLetterMessage(what)
        }
        PageOutcome::Malformed(reason) => Settlement::DeadLetterMessage(reason.clone()),
        PageOutcome::QuotaExhausted(_)
        | PageOutcome::StillWanted
        | PageOutcome::Unavailable
        | PageOutcome::Cancelled => Settlement::Nack,
    }
}

fn after_failure(failure: &Failure, attempts: u32, schedule: &RetrySchedule) -> Settlement {
    match failure.class {
        FailureClass::Throttled => {
            Settlement::Retry { tier: schedule.tier_for(failure.retry_after.unwrap_or_default()) }
        }
        FailureClass::Permanent => Settlement::DeadLetter(failure.clone()),
        FailureClass::Transient | FailureClass::Token if attempts >= schedule.attempts => {
            Settlement::DeadLetter(failure.clone())
        }
        FailureClass::Transient | FailureClass::Token => Settlement::Retry { tier: schedule.tier(attempts) },
    }
}

impl RetrySchedule {
    /// The tier for a job that failed `attempt` times (from 1).
    pub fn tier(&self, attempt: u32) -> usize {
        (attempt.max(1) as usize - 1).min(self.delays.len().saturating_sub(1))
    }

    /// The last tier that waits no longer than `wait`, or the shortest.
    pub fn tier_within(&self, wait: Duration) -> usize {
        self.delays.iter().rposition(|d| d.get() <= wait).unwrap_or(0)
    }

    /// The first tier that waits at least `wait`, or the longest.
    pub fn tier_for(&self, wait: Duration) -> usize {
        let longest = self.delays.len().saturating_sub(1);
        self.delays.iter().position(|d| d.get() >= wait).unwrap_or(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(snooze_exhausted: bool) -> SettlementPolicy {
        let delays = ["1s", "10s", "1m", "10m"].map(|d| d.parse().unwrap()).to_vec();
        SettlementPolicy { schedule: RetrySchedule { attempts: 5, delays }, snooze_exhausted }
    }

    #[test]
    fn every_outcome_has_its_settlement() {
        use FailureClass::{Permanent, Throttled, Token, Transient};
        let failed = |class| PageOutcome::Failed(Failure::new(class, "x"));
        let restart = |class| PageOutcome::RestartTask(Failure::new(class, "x"));
        let retry = |tier| Settlement::Retry { tier };
        let dead = |class| Settlement::DeadLetter(Failure::new(class, "x"));
        let second = Duration::from_secs(1);
        for (outcome, attempts, expected) in [
            (PageOutcome::Stored, 0, Settlement::Ack),
            (PageOutcome::AlreadyDone, 3, Settlement::Ack),
            (PageOutcome::AlreadyDead, 5, Settlement::Ack),
            (PageOutcome::Obsolete, 0, Settlement::Ack),
            (failed(Transient), 1, retry(0)),
            (failed(Transient), 2, retry(1)),
            (failed(Transient), 4, retry(3)),
            (failed(Transient), 5, dead(Transient)),
            (failed(Token), 1, retry(0)),
            (failed(Token), 5, dead(Token)),
            (failed(Permanent), 1, dead(Permanent)),
            (failed(Throttled), 0, retry(0)),
            (failed(Throttled), 9, retry(0)),
            (restart(Transient), 2, retry(1)),
            (restart(Transient), 5, dead(Transient)),
            (PageOutcome::Preparing { cursor: "t".into(), wait: second }, 0, Settlement::Snooze(second)),
            (PageOutcome::QuotaWait(second), 4, Settlement::Snooze(second)),
            (PageOutcome::QuotaExhausted(second), 4, Settlement::Nack),
            (PageOutcome::UnknownStream, 0, Settlement::Snooze(Duration::MAX)),
            (PageOutcome::NewerVersion(9), 0, Settlement::Snooze(Duration::MAX)),
            (PageOutcome::Malformed("x".into()), 0, Settlement::DeadLetterMessage("x".into())),
            (PageOutcome::StillWanted, 0, Settlement::Nack),
            (PageOutcome::Unavailable, 4, Settlement::Nack),
            (PageOutcome::Cancelled, 5, Settlement::Nack),
        ] {
            assert_eq!(
                settlement_for(&outcome, attempts, &policy(false)),
                expected,
                "{outcome:?} after {attempts}"
            );
        }
        let poisoned = settlement_for(&PageOutcome::Poisoned { crashes: 5 }, 5, &policy(false));
        assert!(
            matches!(poisoned, Settlement::DeadLetter(f) if f.class == Permanent && f.message.contains('5'))
        );
        let unknown = settlement_for(&PageOutcome::UnknownPartition(7), 0, &policy(false));
        assert!(matches!(unknown, Settlement::DeadLetterMessage(_)));
    }

    #[test]
    fn a_producer_leaves_an_exhausted_quota_to_the_consumers() {
        let wait = Duration::from_secs(60);
        let settlement = settlement_for(&PageOutcome::QuotaExhausted(wait), 0, &policy(true));
        assert_eq!(settlement, Settlement::Snooze(wait));
    }

    #[test]
    fn a_long_throttle_waits_in_a_long_tier() {
        let tier = |secs| policy(false).schedule.tier_for(Duration::from_secs(secs));
        assert_eq!([tier(0), tier(1), tier(2), tier(60), tier(61), tier(9999)], [0, 0, 1, 2, 3, 3]);
    }

    #[test]
    fn a_snoozed_job_comes_back_in_time() {
        let tier = |secs| policy(false).schedule.tier_within(Duration::from_secs(secs));
        assert_eq!([tier(0), tier(1), tier(9), tier(10), tier(599), tier(9999)], [0, 0, 0, 1, 2, 3]);
        assert_eq!(policy(false).schedule.tier_within(Duration::MAX), 3);
    }

    #[test]
    fn the_last_tier_repeats() {
        let schedule = policy(false).schedule;
        assert_eq!((1..=7).map(|n| schedule.tier(n)).collect::<Vec<_>>(), [0, 1, 2, 3, 3, 3, 3]);
    }
}
