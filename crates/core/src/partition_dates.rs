use jiff::{
    ToSpan,
    civil::{Date, date},
};

/// The first partition begins here, on a Monday: partitions of seven days are weeks.
const ORIGIN: Date = date(1970, 1, 5);

/// First and last days of the partitions of `days_per_partition` days that hold the days `from` to `to`, newest
/// first. No partition reaches beyond `last`, the newest day that is to be pulled at all.
///
/// Partitions lie on a fixed grid, so that a day belongs to the same partition whenever it is requested.
pub fn partition_dates(days_per_partition: u32, from: Date, to: Date, last: Date) -> Vec<(Date, Date)> {
    let days = i64::from(days_per_partition.max(1));
    let first_of = |day: Date| {
        let since = i64::from((day - ORIGIN).get_days());
        day.saturating_sub(since.rem_euclid(days).days())
    };
    let mut partitions = Vec::new();
    let mut first = first_of(to);
    while first.saturating_add((days - 1).days()) >= from && first <= last {
        partitions.push((first, first.saturating_add((days - 1).days()).min(last)));
        match first.checked_sub(days.days()) {
            Ok(before) => first = before,
            Err(_) => break,
        }
    }
    partitions
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(n: i64) -> Date {
        ORIGIN.saturating_add(n.days())
    }

    #[test]
    fn a_week_is_a_partition() {
        let wednesday = date(2026, 3, 4);
        assert_eq!(partition_dates(1, wednesday, wednesday, wednesday), [(wednesday, wednesday)]);
        // Any day of it is all of it, as far as it has come.
        let sunday = date(2026, 3, 8);
        assert_eq!(partition_dates(7, wednesday, wednesday, date(2026, 4, 1)), [(date(2026, 3, 2), sunday)]);
        assert_eq!(
            partition_dates(7, wednesday, wednesday, date(2026, 3, 5)),
            [(date(2026, 3, 2), date(2026, 3, 5))]
        );
        // A month of weeks, newest first.
        let month = partition_dates(7, date(2026, 3, 1), date(2026, 3, 31), date(2026, 3, 31));
        assert_eq!(month.first(), Some(&(date(2026, 3, 30), date(2026, 3, 31))));
        assert_eq!(month.last(), Some(&(date(2026, 2, 23), date(2026, 3, 1))));
        assert_eq!(month.len(), 6);
    }

    proptest! {
        #[test]
        fn partitions_hold_every_day_once_and_lie_on_the_grid(
            days in 1..40_u32, from in -400..20_000_i64, length in 0..200_i64, beyond in 0..60_i64,
        ) {
            let (first, to) = (day(from), day(from + length));
            let last = day(from + length + beyond);
            let dates = partition_dates(days, first, to, last);
            for (begin, end) in &dates {
                prop_assert_eq!(i64::from((*begin - ORIGIN).get_days()).rem_euclid(i64::from(days)), 0);
                let held = i64::from((*end - *begin).get_days()) + 1;
                prop_assert!(held == i64::from(days) || (*end == last && held < i64::from(days) && held > 0));
            }
            for n in from..=from + length {
                prop_assert_eq!(dates.iter().filter(|(a, b)| (*a..=*b).contains(&day(n))).count(), 1);
            }
            prop_assert!(dates.windows(2).all(|w| w[0].0 > w[1].1), "newest first");
        }
    }
}
