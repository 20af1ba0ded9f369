//! What happens after the API halves its rate unannounced, and after it lifts it again.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

use crate::api::{Api, Counts};

const EVERY: Duration = Duration::from_millis(500);
/// Settled: for so long nothing is throttled, and what is admitted is within this share of what it
/// stays at.
const QUIET: f64 = 3.0;
const NEAR: f64 = 0.1;
/// Recovered: for so long at least this share of the rate is used.
const STEADY: f64 = 5.0;
const ALL: f64 = 0.99;

/// The API's counts over time, and when it changed its rate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Recovery {
    pub(crate) rate: u32,
    pub(crate) replicas: u32,
    pub(crate) samples: Vec<Sample>,
    pub(crate) halved_at: f64,
    pub(crate) lifted_at: f64,
    #[serde(skip)]
    begun: Option<(Instant, Counts)>,
}

/// Counts since the beginning, at a second.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) at: f64,
    pub(crate) admitted: u64,
    pub(crate) throttled: u64,
}

impl Recovery {
    pub(crate) fn new(rate: u32, replicas: u32, counts: Counts) -> Self {
        let begun = Some((Instant::now(), counts));
        let samples = vec![Sample { at: 0.0, admitted: 0, throttled: 0 }];
        Self { rate, replicas, samples, halved_at: f64::NAN, lifted_at: f64::NAN, begun }
    }

    /// Samples for so long.
    pub(crate) async fn watch(&mut self, api: &Api, lasts: Duration) -> anyhow::Result<()> {
        let Some((begun, before)) = self.begun else { return Ok(()) };
        let until = Instant::now() + lasts;
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < until {
            ticks.tick().await;
            let counts = api.counts().await?.since(before);
            let at = begun.elapsed().as_secs_f64();
            self.samples.push(Sample { at, admitted: counts.admitted, throttled: counts.throttled });
        }
        Ok(())
    }

    pub(crate) fn halved(&mut self) {
        self.halved_at = self.now();
    }

    pub(crate) fn lifted(&mut self) {
        self.lifted_at = self.now();
    }

    fn now(&self) -> f64 {
        self.begun.map_or(f64::NAN, |(begun, _)| begun.elapsed().as_secs_f64())
    }

    /// Share of the responses that were throttled while half was permitted.
    pub(crate) fn throttled(&self) -> f64 {
        let (first, last) = (self.at(self.halved_at), self.at(self.lifted_at));
        let throttled = (last.throttled - first.throttled) as f64;
        throttled / (throttled + (last.admitted - first.admitted) as f64).max(1.0)
    }

    /// Share of the halved rate that was used over the second half of the time it held.
    pub(crate) fn stays_at(&self) -> f64 {
        let middle = (self.halved_at + self.lifted_at) / 2.0;
        self.rate_between(middle, self.lifted_at) / (f64::from(self.rate) / 2.0)
    }

    /// Seconds after the halving until it had settled.
    pub(crate) fn settled_after(&self) -> Option<f64> {
        let stays = self.stays_at() * f64::from(self.rate) / 2.0;
        let settled = |from: f64| {
            let (first, last) = (self.at(from), self.at(from + QUIET));
            let rate = self.rate_between(from, from + QUIET);
            last.throttled == first.throttled && (rate - stays).abs() <= NEAR * stays
        };
        self.first_after(self.halved_at, self.lifted_at - QUIET, settled)
    }

    /// Seconds after the lifting until all of the rate was used again.
    pub(crate) fn recovered_after(&self) -> Option<f64> {
        let end = self.samples.last().map_or(0.0, |sample| sample.at);
        let all = ALL * f64::from(self.rate);
        self.first_after(self.lifted_at, end - STEADY, |from| self.rate_between(from, from + STEADY) >= all)
    }

    fn first_after(&self, from: f64, to: f64, holds: impl Fn(f64) -> bool) -> Option<f64> {
        let times = self.samples.iter().map(|sample| sample.at).filter(|at| (from..=to).contains(at));
        times.into_iter().find(|at| holds(*at)).map(|at| at - from)
    }

    /// The first sample from a time on, or the last there is.
    fn at(&self, time: f64) -> Sample {
        let none = Sample { at: 0.0, admitted: 0, throttled: 0 };
        let last = self.samples.last().copied().unwrap_or(none);
        self.samples.iter().copied().find(|sample| sample.at >= time).unwrap_or(last)
    }

    /// Admitted a second.
    fn rate_between(&self, from: f64, to: f64) -> f64 {
        let (first, last) = (self.at(from), self.at(to));
        (last.admitted - first.admitted) as f64 / (last.at - first.at)
    }

    /// Of each interval: its end, admitted and throttled a second.
    pub(crate) fn curve(&self) -> Vec<(f64, f64, f64)> {
        let pairs = self.samples.windows(2).filter(|pair| pair[1].at - pair[0].at > 0.1);
        pairs
            .map(|pair| {
                let per_second = |now: u64, before: u64| (now - before) as f64 / (pair[1].at - pair[0].at);
                let admitted = per_second(pair[1].admitted, pair[0].admitted);
                (pair[1].at, admitted, per_second(pair[1].throttled, pair[0].throttled))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rate of 100 for 10 s, 40 after 2 s of throttling while halved, 70 for 4 s after the lifting,
    /// then 100.
    fn recovery() -> Recovery {
        let mut samples = vec![Sample { at: 0.0, admitted: 0, throttled: 0 }];
        for half in 1..=120_u32 {
            let at = f64::from(half) / 2.0;
            let (admitted, throttled) = match at {
                at if at <= 10.0 => (50, 0),
                at if at <= 12.0 => (25, 3),
                at if at <= 30.0 => (20, 0),
                at if at <= 34.0 => (35, 0),
                _ => (50, 0),
            };
            let last = samples.last().unwrap();
            samples.push(Sample {
                at,
                admitted: last.admitted + admitted,
                throttled: last.throttled + throttled,
            });
        }
        Recovery { rate: 100, replicas: 4, samples, halved_at: 10.0, lifted_at: 30.0, begun: None }
    }

    #[test]
    fn settling_is_when_nothing_is_throttled_any_more() {
        let recovery = recovery();
        assert_eq!(recovery.settled_after(), Some(2.0));
        assert_eq!(recovery.stays_at(), 0.8);
        let throttled = 12.0 / (12.0 + 100.0 + 720.0);
        assert!((recovery.throttled() - throttled).abs() < 1e-9);
    }

    #[test]
    fn recovery_is_when_all_is_used_again_for_a_while() {
        assert_eq!(recovery().recovered_after(), Some(4.0));
        let mut never = recovery();
        never.samples.retain(|sample| sample.at <= 37.0);
        assert_eq!(never.recovered_after(), None, "five seconds were not seen");
    }

    #[test]
    fn the_curve_is_per_second() {
        let curve = recovery().curve();
        assert_eq!((curve[0], curve[20]), ((0.5, 100.0, 0.0), (10.5, 50.0, 6.0)));
    }
}
