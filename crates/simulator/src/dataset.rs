use std::ops::Range;

use jiff::{ToSpan, civil::Date};

use crate::{
    config::SimulatorConfig,
    day::{Day, is_large},
    fault::{Fault, FaultKind},
    level::Level,
    metrics::Metrics,
    random::Random,
    row::Row,
};

/// Sets the draws of what goes apart from others of the same seed.
const REMOVAL: u64 = 0x9e37;

/// The rows of a level that a report has on an account's day, in its order: rows of the day before stand in front,
/// then rows that were inserted. Rows that were swapped in stand at the end, and rows that went are left out.
pub(crate) struct Dataset {
    day: Day,
    day_before: Day,
    level: Level,
    /// Rows of the day before.
    neighbours: u64,
    /// Rows without any change.
    base: u64,
    added: u64,
    /// Rows that came for others in a swap. Their indexes begin at twice `base`: at most `base` rows are inserted.
    swapped_in: u64,
    /// Indexes of rows that went, ascending; all are below `base`.
    removed: Vec<u64>,
}

impl Dataset {
    /// The dataset after these changes. The single row of an account report never changes.
    pub(crate) fn new(
        config: &SimulatorConfig,
        account: &str,
        level: Level,
        date: Date,
        changes: &[Fault],
    ) -> Self {
        let day = Day::new(config, account, date);
        let base = day.count(level);
        let share = |kind| {
            let change = changes.iter().find(|change| change.kind == kind && level != Level::Account);
            change.map(|change| change.rate)
        };
        let count = |kind| share(kind).map_or(0, |share| (share * base as f64).ceil() as u64);
        let (neighbours, added, swapped) =
            (count(FaultKind::NeighbourDay), count(FaultKind::Insert), count(FaultKind::Swap));
        let day_before = Day::new(config, account, date.saturating_sub(1.day())).with_other_metrics();
        let mut removed: Vec<u64> = share(FaultKind::Remove).map_or(Vec::new(), |share| {
            let goes = |index: &u64| Random::at(config.seed ^ REMOVAL, *index).share() < share;
            (0..base).filter(goes).collect()
        });
        // A row that is removed anyway is swapped for none, so that a swap never changes the count.
        let swapped_in = swapped - removed.iter().filter(|index| **index < swapped).count() as u64;
        removed = (0..swapped).chain(removed.into_iter().filter(|index| *index >= swapped)).collect();
        Self { day, day_before, level, neighbours, base, added, swapped_in, removed }
    }

    pub(crate) fn count(&self) -> u64 {
        self.neighbours + self.base - self.removed.len() as u64 + self.added + self.swapped_in
    }

    /// The row at this place, from 0.
    pub(crate) fn row(&self, place: u64) -> Row {
        match place.checked_sub(self.neighbours) {
            Some(place) => self.day.entity(self.level, self.index(place)),
            None => self.day_before.entity(self.level, place),
        }
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        (0..self.count()).map(|place| self.row(place))
    }

    /// Creatives in the order of their ids.
    pub(crate) fn by_id(self) -> impl Iterator<Item = Row> {
        let every = (0..self.base + self.added).chain(self.swapped_in());
        let held = move |index: &u64| self.removed.binary_search(index).is_err();
        let small = every.clone().filter(|index| !is_large(*index));
        let all = small.chain(every.filter(|index| is_large(*index)));
        all.filter(held).map(move |index| self.day.row(index))
    }

    /// Indexes of the rows that came in a swap.
    fn swapped_in(&self) -> Range<u64> {
        2 * self.base..2 * self.base + self.swapped_in
    }

    /// What the changes add to the day's sums, and what they take away.
    pub(crate) fn changed_sums(&self) -> (Metrics, Metrics) {
        let sum = |day: &Day, indexes: &mut dyn Iterator<Item = u64>| {
            let metrics = indexes.map(|index| day.entity(self.level, index).metrics);
            metrics.fold(Metrics::default(), Metrics::plus)
        };
        let mut more = (self.base..self.base + self.added).chain(self.swapped_in());
        let more = sum(&self.day, &mut more).plus(sum(&self.day_before, &mut (0..self.neighbours)));
        (more, sum(&self.day, &mut self.removed.iter().copied()))
    }

    fn index(&self, place: u64) -> u64 {
        if place < self.added {
            return self.base + place;
        }
        let place = place - self.added;
        let stayed = self.base - self.removed.len() as u64;
        if place >= stayed {
            return 2 * self.base + place - stayed;
        }
        // Before the r-th removed row stand its index - r others.
        let (mut before, mut end) = (0, self.removed.len());
        while before < end {
            let middle = (before + end) / 2;
            if self.removed[middle] - middle as u64 <= place {
                before = middle + 1;
            } else {
                end = middle;
            }
        }
        place + before as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use jiff::civil::date;

    use super::*;

    fn held(rows: u64, level: Level, changes: &[&str]) -> Dataset {
        let config = SimulatorConfig { rows, ..Default::default() };
        let changes: Vec<_> = changes.iter().map(|text| text.parse().unwrap()).collect();
        Dataset::new(&config, "1001", level, date(2026, 11, 23), &changes)
    }

    #[test]
    fn rows_come_in_front_and_go_from_everywhere() {
        let before: Vec<_> = held(1_000, Level::Creative, &[]).rows().collect();
        let grown: Vec<_> = held(1_000, Level::Creative, &["insert=0.05"]).rows().collect();
        assert_eq!((grown.len(), &grown[50..]), (1_050, &before[..]));
        let both = held(1_000, Level::Creative, &["insert=0.05", "remove=0.1"]);
        let ids: BTreeSet<_> = both.rows().map(|row| row.creativity_id).collect();
        assert_eq!(ids.len() as u64, both.count());
        assert!((900..1_000).contains(&ids.len()), "{}", ids.len());
        let indexes: Vec<_> = both.rows().skip(50).map(|row| row.index).collect();
        assert!(
            indexes.is_sorted() && indexes.iter().all(|index| both.removed.binary_search(index).is_err())
        );
        let sorted: Vec<_> = both.by_id().map(|row| row.creativity_id).collect();
        assert_eq!(sorted, ids.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn rows_of_the_day_before_stand_in_front() {
        let config = SimulatorConfig { rows: 1_000, ..Default::default() };
        let on = |day| Dataset::new(&config, "1001", Level::Creative, date(2026, 11, day), &[]);
        let rows: Vec<_> = held(1_000, Level::Creative, &["neighbour_day=0.0021"]).rows().collect();
        assert_eq!(rows[3..], on(23).rows().collect::<Vec<_>>());
        for (row, own) in rows[..3].iter().zip(on(22).rows()) {
            assert_eq!((row.time, row.creativity_id), (own.time, own.creativity_id));
            assert_ne!(row.metrics, own.metrics);
        }
    }

    #[test]
    fn a_swap_keeps_the_count() {
        let before: Vec<_> = held(1_000, Level::Creative, &[]).rows().collect();
        let swapped = held(1_000, Level::Creative, &["swap=0.001"]);
        let after: Vec<_> = swapped.rows().collect();
        assert_eq!((after.len(), &after[..999]), (1_000, &before[1..]));
        assert!(!before.contains(&after[999]));
        let with_others = held(1_000, Level::Creative, &["insert=0.05", "remove=0.1"]).count();
        let all = held(1_000, Level::Creative, &["insert=0.05", "remove=0.1", "swap=0.2"]);
        let ids: BTreeSet<_> = all.rows().map(|row| row.creativity_id).collect();
        assert_eq!((all.count(), ids.len() as u64), (with_others, with_others));
        assert_eq!(all.by_id().map(|row| row.creativity_id).collect::<Vec<_>>(), Vec::from_iter(ids));
    }

    #[test]
    fn sums_follow_the_changes_on_every_level() {
        use Level::{Account, Campaign, Creative, Keyword, Note, SearchWord, Spu, Target, Unit};
        for level in [Account, Campaign, Unit, Creative, Keyword, Note, Spu, SearchWord, Target] {
            let total =
                |held: &Dataset| held.rows().fold(Metrics::default(), |sum, row| sum.plus(row.metrics));
            let before = held(1_234, level, &[]);
            assert_eq!(total(&before), before.day.total(), "{level:?}");
            let after = held(1_234, level, &["insert=0.1", "remove=0.2", "swap=0.1", "neighbour_day=0.1"]);
            let (more, less) = after.changed_sums();
            assert_eq!(total(&after), total(&before).plus(more).minus(less), "{level:?}");
            let ids: BTreeSet<_> = after.rows().map(|row| (row.time, row.id(level))).collect();
            assert_eq!(ids.len() as u64, after.count(), "{level:?}");
        }
    }

    #[test]
    fn ids_are_unique_over_accounts_and_can_be_walked_in_order() {
        let config = SimulatorConfig { rows: 5_000, ..Default::default() };
        let mut seen = HashSet::new();
        for account in ["1001", "1002", "a name"] {
            let held = Dataset::new(&config, account, Level::Creative, date(2026, 11, 23), &[]);
            assert!(held.rows().all(|row| seen.insert(row.creativity_id)));
            let mut sorted: Vec<_> = held.rows().map(|row| row.creativity_id).collect();
            sorted.sort_unstable();
            assert_eq!(sorted, held.by_id().map(|row| row.creativity_id).collect::<Vec<_>>());
            assert!(sorted.last() > Some(&(1 << 53)) && sorted[0] < 1 << 53);
        }
    }
}
