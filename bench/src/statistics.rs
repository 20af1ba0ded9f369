//! How the numbers of several rounds become one.

use std::collections::BTreeMap;

use crate::measurement::Run;

/// The middle number, or the mean of the two in the middle.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => None,
        n if n % 2 == 1 => Some(numbers[middle]),
        _ => Some((numbers[middle - 1] + numbers[middle]) / 2.0),
    }
}

/// Half of the distance between the extremes, as a share of the median.
pub(crate) fn spread(numbers: &[f64]) -> Option<f64> {
    let (low, high) = numbers.iter().fold((f64::MAX, f64::MIN), |(l, h), f| (l.min(*f), h.max(*f)));
    let middle = median(numbers.iter().copied())?;
    (middle != 0.0).then(|| (high - low) / 2.0 / middle)
}

/// A contestant's rows/s over another's, each within its round, and the median of that.
pub(crate) fn ratio(runs: &[Run], name: &str, over: &str) -> Option<f64> {
    let speeds = |of: &str| -> BTreeMap<u32, f64> {
        runs.iter().filter(|r| r.name == of).map(|r| (r.round, r.rows_a_second())).collect()
    };
    let over = speeds(over);
    median(speeds(name).into_iter().filter_map(|(round, speed)| Some(speed / over.get(&round)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::tests::run;

    #[test]
    fn medians() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0]), Some(2.5));
        assert_eq!(spread(&[90.0, 110.0, 100.0]), Some(0.1));
        assert_eq!(spread(&[5.0]), Some(0.0));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn ratios_are_made_within_a_round() {
        // The machine is half as fast in the second round: the ratio is the same.
        let runs = [run("a", 1, 1.0), run("b", 1, 4.0), run("a", 2, 2.0), run("b", 2, 8.0), run("a", 3, 1.0)];
        assert_eq!(ratio(&runs, "a", "b"), Some(4.0));
        assert_eq!(ratio(&runs, "a", "c"), None);
    }
}
