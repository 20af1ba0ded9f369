use super::{Goal, goals, or_dash, percent, table};
use crate::quota::{Hold, Quota};

pub(super) fn page(quota: &Quota) -> String {
    let Quota { warmup_seconds, measured_seconds, page_size, latency, .. } = quota;
    let mut text = format!(
        "The simulator's strict window (no second, wherever it begins, admits more than the rate), latency \
         {latency}, pages of {page_size} rows so that the quota is what limits; the whole way through RabbitMQ and \
         PostgreSQL, `workers = \"auto\"`. After {warmup_seconds} s of warming up {measured_seconds} s are measured, \
         from one request's arrival to another's. Used is admitted ÷ (rate × seconds), of which the margin for jitter \
         leaves 99.5 %; round trips are reservations in PostgreSQL; a slot is void if no request was sent in it in \
         time.\n\n"
    );
    let rows: Vec<_> = quota.holds.iter().map(row).collect();
    text += &table(
        &[
            "rate",
            "replicas",
            "used",
            "throttled",
            "round trips / 1,000 requests",
            "slots void",
            "CPU of all consumers",
            "warnings logged",
        ],
        &rows,
    );
    text += "\n";
    if let Some(recovery) = &quota.recovery {
        text += &format!(
            "{}/s halved unannounced at {:.0} s, lifted at {:.0} s, {} replicas. Settled (3 s without a throttled \
             response, within 10 % of where it stays) after {}; it stayed at {} of the half; {} of the responses were \
             throttled while halved; {} after the lifting at least 99 % of the rate were used over 5 s.\n\n",
            recovery.rate,
            recovery.halved_at,
            recovery.lifted_at,
            recovery.replicas,
            or_dash(recovery.settled_after(), |s| format!("{s:.1} s")),
            percent(recovery.stays_at(), 1),
            percent(recovery.throttled(), 2),
            or_dash(recovery.recovered_after(), |s| format!("{s:.1} s")),
        );
    }
    if let Some(frozen) = &quota.frozen {
        text += &format!(
            "One of {} replicas frozen (SIGSTOP) for {:.0} s at {}/s: {} of {} responses were throttled meanwhile, {} of \
             {} in the {:.0} s after it woke.\n\n",
            frozen.replicas,
            frozen.frozen_seconds,
            frozen.rate,
            frozen.during.throttled,
            frozen.during.seen,
            frozen.after.throttled,
            frozen.after.seen,
            frozen.after_seconds,
        );
    }
    if let Some(idle) = &quota.idle {
        text += &format!("An idle consumer used {} of a core.\n\n", percent(idle.cpu / idle.seconds, 2));
    }
    for (name, why) in &quota.failed {
        text += &format!("Not measured: {name} ({}).\n\n", why.lines().next().unwrap_or_default());
    }
    text + &goals(targets(quota))
}

fn row(hold: &Hold) -> Vec<String> {
    vec![
        format!("{}/s", hold.rate),
        hold.replicas.to_string(),
        percent(hold.used(), 2),
        percent(hold.throttled(), 3),
        format!("{:.0}", hold.round_trips()),
        percent(hold.void(), 2),
        percent(hold.cpu / hold.seconds, 1),
        hold.warnings.to_string(),
    ]
}

/// The least, or the most, of a figure over some runs; `None` without runs.
fn extreme(holds: &[Hold], of: impl Fn(&Hold) -> Option<f64>, pick: fn(f64, f64) -> f64) -> Option<f64> {
    holds.iter().filter_map(of).reduce(pick)
}

const CROWD: u32 = 64;

fn targets(quota: &Quota) -> Vec<Goal> {
    let holds = &quota.holds;
    let used = |crowd: bool| {
        extreme(holds, |h| ((h.replicas >= CROWD) == crowd).then(|| 100.0 * h.used()), f64::min)
    };
    let throttled = |crowd: bool| {
        extreme(holds, |h| ((h.replicas >= CROWD) == crowd).then(|| 100.0 * h.throttled()), f64::max)
    };
    let round_trips = extreme(holds, |h| (h.replicas * 20 <= h.rate).then(|| h.round_trips()), f64::max);
    let recovery = quota.recovery.as_ref();
    // What never settled took longer than was looked.
    let seconds = |after: Option<f64>| after.unwrap_or(f64::INFINITY);
    let frozen = quota.frozen.as_ref();
    vec![
        Goal::at_least("quota used, the least", 99.3, used(false), " %"),
        Goal::at_least("quota used by 64 replicas", 98.5, used(true), " %"),
        Goal::at_most("throttled, the most", 0.05, throttled(false), " %"),
        Goal::at_most("throttled with 64 replicas", 0.05, throttled(true), " %"),
        Goal::at_most("round trips per 1,000 requests (replicas × 20 ≤ a second's)", 50.0, round_trips, ""),
        Goal::at_most("settled after the halving", 10.0, recovery.map(|r| seconds(r.settled_after())), " s"),
        Goal::at_most("throttled while halved", 1.0, recovery.map(|r| 100.0 * r.throttled()), " %"),
        Goal::at_most(
            "back at 99 % after the lifting",
            60.0,
            recovery.map(|r| seconds(r.recovered_after())),
            " s",
        ),
        Goal::at_most(
            "throttled after a frozen replica woke",
            0.0,
            frozen.map(|f| f.after.throttled as f64),
            "",
        ),
        Goal::at_most(
            "CPU of an idle consumer",
            0.5,
            quota.idle.as_ref().map(|i| 100.0 * i.cpu / i.seconds),
            " % of a core",
        ),
    ]
}

/// What stands in the main README.
pub(super) fn summary(quota: &Quota) -> String {
    let rows: Vec<_> = quota.holds.iter().map(|hold| row(hold)[..5].to_vec()).collect();
    table(&["rate", "replicas", "used", "throttled", "round trips / 1,000"], &rows) + "\n"
}
