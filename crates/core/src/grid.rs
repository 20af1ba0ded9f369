use jiff::{
    ToSpan,
    civil::{Date, date},
};

/// The grid's first cell begins here, on a Monday: weeks are cells of seven days.
const ORIGIN: Date = date(1970, 1, 5);

/// The cells of a grid of `days` that hold the days `from` to `to`, newest first: whole cells, except
/// that none reaches beyond `last`, the newest day that is to be pulled at all.
///
/// The grid is fixed, so that the same day lies in the same cell whenever it is asked for.
pub fn cells(days: u32, from: Date, to: Date, last: Date) -> Vec<(Date, Date)> {
    let days = i64::from(days.max(1));
    let first_of = |day: Date| {
        let since = i64::from((day - ORIGIN).get_days());
        day.saturating_sub(since.rem_euclid(days).days())
    };
    let mut cells = Vec::new();
    let mut first = first_of(to);
    while first.saturating_add((days - 1).days()) >= from && first <= last {
        cells.push((first, first.saturating_add((days - 1).days()).min(last)));
        match first.checked_sub(days.days()) {
            Ok(before) => first = before,
            Err(_) => break,
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(n: i64) -> Date {
        ORIGIN.saturating_add(n.days())
    }

    #[test]
    fn a_week_is_a_cell() {
        let wednesday = date(2026, 3, 4);
        assert_eq!(cells(1, wednesday, wednesday, wednesday), [(wednesday, wednesday)]);
        // Any day of it is all of it, as far as it has come.
        let sunday = date(2026, 3, 8);
        assert_eq!(cells(7, wednesday, wednesday, date(2026, 4, 1)), [(date(2026, 3, 2), sunday)]);
        assert_eq!(cells(7, wednesday, wednesday, date(2026, 3, 5)), [(date(2026, 3, 2), date(2026, 3, 5))]);
        // A month of weeks, newest first.
        let month = cells(7, date(2026, 3, 1), date(2026, 3, 31), date(2026, 3, 31));
        assert_eq!(month.first(), Some(&(date(2026, 3, 30), date(2026, 3, 31))));
        assert_eq!(month.last(), Some(&(date(2026, 2, 23), date(2026, 3, 1))));
        assert_eq!(month.len(), 6);
    }

    proptest! {
        #[test]
        fn cells_hold_every_day_once_and_lie_on_the_grid(
            days in 1..40_u32, from in -400..20_000_i64, length in 0..200_i64, beyond in 0..60_i64,
        ) {
            let (first, to) = (day(from), day(from + length));
            let last = day(from + length + beyond);
            let cells = cells(days, first, to, last);
            for (begin, end) in &cells {
                prop_assert_eq!(i64::from((*begin - ORIGIN).get_days()).rem_euclid(i64::from(days)), 0);
                let held = i64::from((*end - *begin).get_days()) + 1;
                prop_assert!(held == i64::from(days) || (*end == last && held < i64::from(days) && held > 0));
            }
            for n in from..=from + length {
                prop_assert_eq!(cells.iter().filter(|(a, b)| (*a..=*b).contains(&day(n))).count(), 1);
            }
            prop_assert!(cells.windows(2).all(|w| w[0].0 > w[1].1), "newest first");
        }
    }
}
