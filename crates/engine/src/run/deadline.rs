//! Compares the expected end of a run with its deadline.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use pagemill_core::TimeOfDay;
use pagemill_store::{Pace, RunPace};
use serde::Serialize;

/// When one source's share of a run ends, and when it should. Its fields are those that `pagemill
/// status RUN --json` adds where the config has a `deadline`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timeliness {
    /// The source's name.
    #[serde(skip)]
    pub source: String,
    /// The first such time of day after the run was made.
    pub deadline: Timestamp,
    /// The time at which the last page is expected, or the last partition was closed. `None` while it is unknown:
    /// the run stands still, or there is neither a quota nor a measured pace.
    pub expected: Option<Timestamp>,
    /// True if that is before the deadline; `None` while it is unknown.
    pub on_time: Option<bool>,
    #[serde(skip)]
    ended: bool,
    #[serde(skip)]
    zone: TimeZone,
}

/// A pace is believed once it was measured for so long.
const MEASURED: f64 = 10.0;
/// A run of this age whose last minutes brought no page stands still.
const STILL: SignedDuration = SignedDuration::from_secs(120);

/// Forecasts the end of a run by the quota's rate (requests a second) or by the run's own pace, whichever
/// is slower. `None` at the end of all time.
pub fn timeliness(
    run: &RunPace,
    pace: &Pace,
    per_second: Option<f64>,
    deadline: &TimeOfDay,
    zone: &TimeZone,
) -> Option<Timeliness> {
    let zone = deadline.zone_or(zone).clone();
    let deadline = deadline.next(run.created_at, &zone)?;
    let still = pace.lately == 0 && run.at.duration_since(run.created_at) > STILL;
    let measured = (pace.lately_seconds >= MEASURED).then(|| pace.lately as f64 / pace.lately_seconds);
    let expected = match pace.ended_at {
        Some(ended) => Some(ended),
        None if still => None,
        None => [per_second, measured]
            .into_iter()
            .flatten()
            .reduce(f64::min)
            .and_then(|rate| after(run.at, pace.remaining, rate)),
    };
    let still = pace.ended_at.is_none() && still;
    let on_time = expected.map(|at| at <= deadline).or(still.then_some(false));
    Some(Timeliness {
        source: pace.source.clone(),
        deadline,
        expected,
        on_time,
        ended: pace.ended_at.is_some(),
        zone,
    })
}

/// When so many requests will have been sent. `None` for a rate of 0, or beyond all time.
pub(crate) fn after(at: Timestamp, requests: u64, per_second: f64) -> Option<Timestamp> {
    let length = SignedDuration::try_from_secs_f64(requests as f64 / per_second).ok()?;
    at.checked_add(length).ok()
}

/// A time for people: its day only where it isn't the deadline's.
pub fn format_time(at: Timestamp, near: Timestamp, zone: &TimeZone) -> String {
    let (at, near) = (at.to_zoned(zone.clone()), near.to_zoned(zone.clone()));
    at.strftime(if at.date() == near.date() { "%H:%M" } else { "%F %H:%M" }).to_string()
}

/// `yes`, `NO` or `unknown`.
pub fn describe_on_time(on_time: Option<bool>) -> &'static str {
    match on_time {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "unknown",
    }
}

impl Timeliness {
    /// The source that is furthest behind: late before unknown before on time, and then the last to end.
    pub fn worst(all: Vec<Self>) -> Option<Self> {
        let rank = |t: &Self| match t.on_time {
            Some(false) => 2,
            None => 1,
            Some(true) => 0,
        };
        all.into_iter().max_by_key(|t| (rank(t), t.expected))
    }
}

impl std::fmt::Display for Timeliness {
    /// `on time: yes, expected 08:12 (deadline 09:00 Asia/Shanghai)`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let zone = self.zone.iana_name().unwrap_or("UTC");
        let deadline = self.deadline.to_zoned(self.zone.clone()).strftime("%H:%M").to_string();
        let word = if self.ended { "ended" } else { "expected" };
        write!(f, "on time: {}, ", describe_on_time(self.on_time))?;
        match self.expected {
            Some(at) => write!(f, "{word} {}", format_time(at, self.deadline, &self.zone))?,
            None if self.on_time == Some(false) => write!(f, "it stands still")?,
            None => write!(f, "the pace is unknown: there is neither a rate limit nor a page")?,
        }
        write!(f, " (deadline {deadline} {zone})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run made at 08:00 in Shanghai, looked at ten minutes later, with a deadline of 09:00.
    fn seen(pace: &Pace, per_second: Option<f64>) -> (Option<bool>, String) {
        let run = RunPace {
            created_at: "2026-03-01T00:00:00Z".parse().unwrap(),
            at: "2026-03-01T00:10:00Z".parse().unwrap(),
            sources: vec![],
        };
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let seen = timeliness(&run, pace, per_second, &"09:00".parse().unwrap(), &zone).unwrap();
        (seen.on_time, seen.to_string())
    }

    fn pace(remaining: u64, lately: u64, lately_seconds: f64) -> Pace {
        Pace { source: "s".into(), open: 1, remaining, ended_at: None, lately, lately_seconds }
    }

    #[test]
    fn the_slower_of_quota_and_pace_tells_when_it_ends() {
        let running = pace(6_000, 600, 120.0);
        assert_eq!(
            seen(&running, Some(10.0)),
            (Some(true), "on time: yes, expected 08:30 (deadline 09:00 Asia/Shanghai)".into())
        );
        assert_eq!(
            seen(&running, Some(1.0)),
            (Some(false), "on time: NO, expected 09:50 (deadline 09:00 Asia/Shanghai)".into())
        );
        assert_eq!(seen(&running, None).0, Some(true));
        // A pace of a few seconds is not believed yet.
        assert_eq!(seen(&pace(6_000, 1, 2.0), Some(10.0)).0, Some(true));
        assert_eq!(seen(&pace(6_000, 1, 2.0), None).0, None);
        // The next day is printed.
        assert!(seen(&running, Some(0.1)).1.contains("expected 2026-03-02 00:50"));
    }

    #[test]
    fn what_stands_still_is_late_and_what_has_ended_is_known() {
        let (on_time, words) = seen(&pace(1, 0, 0.0), Some(100.0));
        assert_eq!((on_time, words.contains("stands still")), (Some(false), true), "{words}");
        let ended = |at: &str| Pace { open: 0, ended_at: Some(at.parse().unwrap()), ..pace(0, 0, 0.0) };
        assert_eq!(
            seen(&ended("2026-03-01T00:09:00Z"), None).1,
            "on time: yes, ended 08:09 (deadline 09:00 Asia/Shanghai)"
        );
        assert_eq!(seen(&ended("2026-03-01T01:00:01Z"), None).0, Some(false));
    }
}
