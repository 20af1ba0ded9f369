//! Cuts the days of a stream into partitions, and decides how long their seals hold.

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use pagemill_core::{DateScope, Restate, TimeOfDay, due_if_requested_before, partition_dates};
use pagemill_source::Stream;

use super::request::Lookback;
use crate::sources::Source;

/// The rules of a stream's days.
pub(crate) struct StreamDays<'a> {
    /// Days of one partition.
    days_per_partition: u32,
    /// The stream's rows know no date: each pull is one whole.
    whole: bool,
    ready_at: Option<&'a TimeOfDay>,
    restate: &'a [Restate],
    zone: &'a TimeZone,
}

impl<'a> StreamDays<'a> {
    pub(crate) fn of(source: &'a Source, stream: &'a Stream) -> Self {
        Self {
            days_per_partition: stream.days_per_partition(),
            whole: stream.table_shape().dates == DateScope::Whole,
            ready_at: stream.ready_at(),
            restate: stream.restate(),
            zone: &source.zone,
        }
    }

    /// First and last day of the partitions of a request for `from` to `to`, the newest first. `today`
    /// lies within only where it was requested: its report is not done.
    pub(crate) fn partitions(
        &self,
        from: Date,
        to: Date,
        lookback: Lookback,
        today: Date,
    ) -> Vec<(Date, Date)> {
        if self.whole {
            return vec![(to, to)];
        }
        let from = match lookback {
            Lookback::Days(days) => from.saturating_sub(i64::from(days).days()),
            Lookback::Restate => {
                from.min(today.saturating_sub(i64::from(Restate::reach(self.restate)).days()))
            }
        };
        let last = to.max(today.yesterday().unwrap_or(today));
        partition_dates(self.days_per_partition, from, to, last)
    }

    /// A seal of requests before this is not the last word on a partition that ends on `day`.
    pub(crate) fn due_if_requested_before(&self, day: Date, today: Date) -> Option<Timestamp> {
        due_if_requested_before(day, today, self.zone, self.ready_at, self.restate)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const TODAY: Date = date(2026, 3, 5);
    static UTC: TimeZone = TimeZone::UTC;

    fn days<'a>(days_per_partition: u32, restate: &'a [Restate]) -> StreamDays<'a> {
        StreamDays { days_per_partition, whole: false, ready_at: None, restate, zone: &UTC }
    }

    #[test]
    fn looking_back_a_number_of_days_or_as_far_as_the_api_restates() {
        let day = date(2026, 3, 4);
        let windows = ["2d".parse().unwrap(), "30d weekly".parse().unwrap()];
        let count = |restate: &[Restate], from, lookback| {
            days(1, restate).partitions(from, day, lookback, TODAY).len()
        };
        assert_eq!(count(&windows, day, Lookback::Days(0)), 1);
        assert_eq!(count(&windows, day, Lookback::Days(3)), 4);
        // Thirty days before today; today itself was not requested.
        assert_eq!(count(&windows, day, Lookback::Restate), 30);
        assert_eq!(count(&[], day, Lookback::Restate), 1);
        // Days requested beyond the windows stay requested.
        assert_eq!(count(&windows, date(2026, 1, 1), Lookback::Restate), 63);
    }

    #[test]
    fn today_is_pulled_only_when_it_is_requested() {
        let week = |to| days(7, &[]).partitions(to, to, Lookback::Days(0), TODAY);
        assert_eq!(week(date(2026, 3, 3)), [(date(2026, 3, 2), date(2026, 3, 4))]);
        assert_eq!(week(TODAY), [(date(2026, 3, 2), TODAY)]);
    }

    #[test]
    fn a_stream_without_dates_is_one_whole() {
        let whole = StreamDays { whole: true, ..days(1, &[]) };
        let requested = whole.partitions(date(2026, 1, 1), date(2026, 3, 4), Lookback::Days(9), TODAY);
        assert_eq!(requested, [(date(2026, 3, 4), date(2026, 3, 4))]);
    }
}
