use std::{fmt, str::FromStr, time::Duration};

use crate::random::{Random, mix};

/// Time that responses take: uniform between two bounds. Written `20..300ms`, `50ms` or `1..2s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// The quickest response.
    pub from: Duration,
    /// The slowest response.
    pub to: Duration,
}

/// A text that is no latency.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a latency: write 50ms, 20..300ms or 1..2s, the smaller number first")]
pub struct LatencyError(String);

impl Latency {
    /// The latency of the given request, always the same for the same seed.
    pub(crate) fn of(self, seed: u64, request: u64) -> Duration {
        let spread = (self.to - self.from).as_nanos() as u64;
        self.from
            + Duration::from_nanos(Random::new(mix(seed) ^ mix(request)).below(spread.saturating_add(1)))
    }
}

impl FromStr for Latency {
    type Err = LatencyError;

    fn from_str(text: &str) -> Result<Self, LatencyError> {
        let read = || {
            let (from, to) = text.split_once("..").unwrap_or((text, text));
            let (to, unit) = duration(to, None)?;
            let (from, _) = duration(from, Some(unit))?;
            (from <= to).then_some(Self { from, to })
        };
        read().ok_or_else(|| LatencyError(text.to_owned()))
    }
}

/// A whole number and its unit in milliseconds; without one, the given unit.
fn duration(text: &str, default: Option<u64>) -> Option<(Duration, u64)> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        None => (text, default?),
        Some(end) => match &text[end..] {
            "ms" => (&text[..end], 1),
            "s" => (&text[..end], 1_000),
            _ => return None,
        },
    };
    // A day at most: the bounds stay far inside the arithmetic.
    let millis = digits.parse::<u64>().ok()?.checked_mul(unit).filter(|millis| *millis <= 86_400_000)?;
    Some((Duration::from_millis(millis), unit))
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from.as_millis(), self.to.as_millis()) {
            (from, to) if from == to => write!(f, "{to}ms"),
            (from, to) => write!(f, "{from}..{to}ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_read_as_people_write_them() {
        for (text, from, to) in [
            ("0ms", 0, 0),
            ("50ms", 50, 50),
            ("20..300ms", 20, 300),
            ("20ms..300ms", 20, 300),
            ("1..2s", 1_000, 2_000),
            ("500ms..2s", 500, 2_000),
        ] {
            let latency: Latency = text.parse().unwrap();
            assert_eq!((latency.from.as_millis(), latency.to.as_millis()), (from, to), "{text}");
            assert_eq!(latency.to_string().parse::<Latency>().unwrap(), latency);
        }
        for bad in ["", "20", "..", "300..20ms", "-1ms", "1m", "20..ms", "2d", "99999999999s"] {
            assert!(bad.parse::<Latency>().is_err(), "{bad}");
        }
    }

    #[test]
    fn latencies_repeat_with_the_seed_and_fill_the_range() {
        let latency: Latency = "20..300ms".parse().unwrap();
        let drawn: Vec<_> = (0..1_000).map(|n| latency.of(42, n)).collect();
        assert!(drawn.iter().all(|d| (latency.from..=latency.to).contains(d)));
        assert!(drawn.iter().min() < Some(&Duration::from_millis(25)));
        assert!(drawn.iter().max() > Some(&Duration::from_millis(295)));
        assert_eq!(drawn, (0..1_000).map(|n| latency.of(42, n)).collect::<Vec<_>>());
    }
}
