//! The programs that `speed` measures.

use crate::{args::Args, probe::Probe};

/// The peer that ratios are made to.
pub(crate) const BASE: &str = "Go pool";
/// And what is compared.
pub(crate) const ONE: &str = "Pagemill over RabbitMQ, 1 consumer";
/// What [`ONE`] is compared with: a run with the binaries of `--baseline`.
pub(crate) const BASELINE: &str = "Pagemill of the baseline, 1 consumer";
/// Workers of the run that shows what more of them cost in memory.
const MANY_WORKERS: u32 = 32;

/// A program that does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contestant {
    /// `pagemill run`, its database in the same process.
    Embedded,
    /// `pagemill run --postgres`.
    InProcess,
    /// Over RabbitMQ.
    Consumers {
        consumers: usize,
        workers: u32,
        variant: Variant,
    },
    /// One consumer over RabbitMQ, of the build that `--baseline` names.
    Baseline,
    GoPool,
    GoRabbit,
    Celery {
        pool: &'static str,
    },
    Dlt,
    Faucet,
    Limit(Probe),
}

/// What a consumer does of all it can do: leaving something out shows what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Whole,
    NoAnswers,
    /// Every request has its slot from PostgreSQL, at a rate that is never reached.
    Quota,
}

impl Contestant {
    /// The requested ones, in the order in which they run in this round.
    pub(crate) fn all(args: &Args, round: u32) -> Vec<Self> {
        use Contestant::{Celery, Consumers, Dlt, Embedded, Faucet, GoPool, GoRabbit, InProcess, Limit};
        let workers = args.workers;
        let consumers = |consumers| Consumers { consumers, workers, variant: Variant::Whole };
        if args.baseline.is_some() {
            // By turns: what the first run of a round leaves behind strikes both alike.
            let mut builds = vec![consumers(1), Self::Baseline];
            builds.rotate_left((round % 2) as usize);
            return builds;
        }
        let one = |variant| Consumers { consumers: 1, workers, variant };
        let mut all = vec![
            GoPool,
            consumers(1),
            GoRabbit,
            consumers(2),
            Celery { pool: "prefork" },
            consumers(4),
            Celery { pool: "threads" },
            Consumers { consumers: 1, workers: MANY_WORKERS, variant: Variant::Whole },
            Faucet,
            one(Variant::NoAnswers),
            one(Variant::Quota),
            InProcess,
            Embedded,
            Dlt,
        ];
        all.extend(Probe::ALL.map(Limit));
        all.retain(|contestant| args.wants(&contestant.name()));
        all
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Embedded => "Pagemill, embedded database".into(),
            Self::InProcess => "Pagemill, one process".into(),
            Self::Consumers { consumers: 1, workers, .. } if workers >= MANY_WORKERS => {
                format!("{ONE}, {workers} workers")
            }
            Self::Consumers { consumers: 1, variant: Variant::Whole, .. } => ONE.into(),
            Self::Consumers { consumers: 1, variant: Variant::NoAnswers, .. } => {
                format!("{ONE}, no responses kept")
            }
            Self::Consumers { consumers: 1, variant: Variant::Quota, .. } => {
                format!("{ONE}, a quota that never limits")
            }
            Self::Consumers { consumers, .. } => format!("Pagemill over RabbitMQ, {consumers} consumers"),
            Self::Baseline => BASELINE.into(),
            Self::GoPool => BASE.into(),
            Self::GoRabbit => "Go over RabbitMQ".into(),
            Self::Celery { pool } => format!("Celery, {pool}"),
            Self::Dlt => "dlt".into(),
            Self::Faucet => "faucet-cli".into(),
            Self::Limit(probe) => probe.title().into(),
        }
    }
}

impl Variant {
    /// As a definition has it.
    pub(crate) fn rate(self) -> &'static str {
        match self {
            Self::Quota => "{ per_second = 1000000 }",
            Self::Whole | Self::NoAnswers => "\"unlimited\"",
        }
    }

    /// `consumer.keep_responses`, if it isn't the default.
    pub(crate) fn keep_responses(self) -> Option<bool> {
        (self == Self::NoAnswers).then_some(false)
    }
}
