use std::collections::{BTreeMap, VecDeque};

use pagemill_core::{Lane, PageJob, PageRange};
use pagemill_queue::{Address, PageQueue};
use pagemill_store::{KnownPage, PartitionRow};

use super::{ExpandMode, PartitionDriver, message};
use crate::error::ServiceError;

/// The pages of one partition that are to be published.
struct Remaining {
    partition: PartitionRow,
    planned: PageRange,
    /// Those that the ledger knows.
    known: Vec<KnownPage>,
}

impl<Q: PageQueue> PartitionDriver<Q> {
    /// Publishes every page of a partition that is neither done nor dead, or splits the partition if
    /// it is too deep. Returns whether the partition has ended thereby. The ledger knows the total since the
    /// first page's transaction.
    pub(super) async fn expand_or_split(&self, id: i64) -> Result<bool, ServiceError> {
        fail::fail_point!("before-expansion");
        let partition = self.store.partitions.get(id).await?;
        if self.is_too_deep(&partition) {
            return self.split(&partition).await;
        }
        if let ExpandMode::Deferred(expansions) = &self.expand_mode {
            // A receiver that is gone leaves the partition to the next producer, or to a rescue.
            let _ = expansions.send(partition);
        } else {
            self.expand(vec![partition]).await?;
        }
        Ok(false)
    }

    /// Publishes every page of these partitions that is neither done nor dead, in turn: a page of each,
    /// then the next of each, so that a large partition doesn't hold up the others.
    pub(crate) async fn expand(&self, partitions: Vec<PartitionRow>) -> Result<(), ServiceError> {
        let mut lanes: BTreeMap<(String, bool), Vec<Remaining>> = BTreeMap::new();
        for partition in partitions.into_iter().filter(|partition| !partition.progress.published) {
            let id = partition.id;
            let remaining = self.remaining(partition).await;
            if let Ok(Some(remaining)) = self.or_close_incomplete(id, remaining).await? {
                let PartitionRow { slice, lane, .. } = &remaining.partition;
                lanes.entry((slice.source.clone(), *lane == Lane::Low)).or_default().push(remaining);
            }
        }
        for ((source, low), lane) in lanes {
            let to = Address::Lane { source, lane: Lane::ALL[usize::from(low)] };
            self.queue
                .publish(&to, in_turn(lane.iter().map(Remaining::jobs)).map(|job| message(&job)))
                .await?;
            fail::fail_point!("after-expansion");
            for Remaining { partition, planned, .. } in lane {
                let marked = self.store.partitions.mark_published(partition.id).await.map_err(Into::into);
                let _ = self.or_close_incomplete(partition.id, marked).await?;
                let (total, pages) = (partition.progress.total.unwrap_or(0), planned.count());
                tracing::info!(partition = partition.id, slice = %partition.slice, total, pages, "expanded");
            }
        }
        Ok(())
    }

    /// The pages of a partition that are still to be published; `None` while its total is unknown.
    async fn remaining(&self, partition: PartitionRow) -> Result<Option<Remaining>, ServiceError> {
        let partition = match self.table(&partition.slice) {
            Some(table) => self.store.seals.find_baseline(table, &partition, self.keeps_responses).await?,
            None => partition,
        };
        let Some(planned) = partition.planned() else { return Ok(None) };
        let known = self.store.pages.known(partition.id).await?;
        Ok(Some(Remaining { partition, planned, known }))
    }
}

impl Remaining {
    fn jobs(&self) -> impl Iterator<Item = PageJob> + '_ {
        let mut known = self.known.iter().peekable();
        (self.planned.first..=self.planned.last).filter_map(move |page| {
            let known = known.next_if(|known| known.page == page);
            let has_ended = known.is_some_and(|known| known.has_ended);
            (!has_ended).then(|| self.partition.job(page, known.map_or(0, |known| known.generation)))
        })
    }
}

/// One of each in turn, until all have ended.
fn in_turn<I: Iterator>(iterators: impl IntoIterator<Item = I>) -> impl Iterator<Item = I::Item> {
    let mut turns: VecDeque<I> = iterators.into_iter().collect();
    std::iter::from_fn(move || {
        loop {
            let mut iterator = turns.pop_front()?;
            if let Some(item) = iterator.next() {
                turns.push_back(iterator);
                return Some(item);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_each_in_turn() {
        let turns: Vec<_> = in_turn([0..1, 10..14, 20..22]).collect();
        assert_eq!(turns, [0, 10, 20, 11, 21, 12, 13]);
    }
}
