//! What follows from a page being done: its partition is expanded or split, the page after it
//! published, the partition sealed or repaired. All of it idempotent, so that whoever comes by may
//! ensure it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use jiff::ToSpan;
use pagemill_core::{Lane, PageJob, Slice, Verdict};
use pagemill_queue::{Address, PageQueue};
use pagemill_store::{DataTable, Following, PartitionRow, Progress, RescueOrder, Sealing, Store};

use super::{Pipeline, Trouble, message};
use crate::{app::App, sources::Sources};

/// What it takes to move a partition on.
pub(crate) struct Follow<'a, Q> {
    store: &'a Store,
    queue: &'a Q,
    sources: &'a Sources,
    /// The most rounds in which pages are fetched again because the proof failed.
    repairs: u32,
    /// Whether answers are kept.
    answers: bool,
    held_back: Option<&'a Mutex<Vec<PartitionRow>>>,
}

impl<'a, Q: PageQueue> Follow<'a, Q> {
    pub(super) fn pipeline(pipeline: &'a Pipeline<Q>) -> Self {
        let Pipeline { store, queue, sources, settings, held_back, .. } = pipeline;
        let (repairs, answers) = (settings.repair_rounds, settings.keep_responses);
        Self { store, queue, sources, repairs, answers, held_back: held_back.as_ref() }
    }

    pub(crate) fn app(app: &'a App, queue: &'a Q) -> Self {
        Self {
            store: &app.store,
            queue,
            sources: &app.sources,
            repairs: app.settings.repair_rounds,
            answers: app.settings.keep_responses,
            held_back: None,
        }
    }

    /// After these pages of one partition are done or dead: where pages follow one another the next
    /// one is published; after the first page all others are; after the last the partition is closed.
    pub(crate) async fn up(&self, progress: &Progress, pages: &[&PageJob]) -> Result<(), Trouble> {
        let Some(job) = pages.first() else { return Ok(()) };
        let slice = &job.slice;
        let mut ended = progress.has_ended();
        if self.table(slice).is_some_and(|table| table.is_chained()) {
            for job in pages {
                ended |= self.next(progress, job).await?;
            }
        } else if !ended && !progress.published && pages.iter().any(|job| job.page == progress.first_page) {
            ended |= self.spread(progress.partition).await?;
        }
        if ended {
            self.seal(progress.partition, slice).await?;
        }
        Ok(())
    }

    /// Publishes the page after a done one of a chain; whether the chain has ended instead.
    async fn next(&self, progress: &Progress, job: &PageJob) -> Result<bool, Trouble> {
        if progress.last_page.is_some_and(|last| job.page >= last) {
            return Ok(false);
        }
        let (cursor, generation) = match self.store.following(progress.partition, job.page).await? {
            Following::Page { cursor, generation } => (cursor, generation),
            Following::Nothing => return Ok(false),
            Following::Circle => return Ok(true),
        };
        fail::fail_point!("before-expansion");
        let next = PageJob { cursor: Some(cursor), ..job.at(job.page + 1, generation) };
        self.publish(&[next]).await?;
        fail::fail_point!("after-expansion");
        if !progress.published {
            self.store.mark_published(progress.partition).await?;
        }
        Ok(false)
    }

    /// Publishes every page of a partition that is neither done nor dead, or splits the partition if
    /// it is too deep; whether it has ended thereby. The total is in the ledger since the first
    /// page's transaction.
    async fn spread(&self, id: i64) -> Result<bool, Trouble> {
        fail::fail_point!("before-expansion");
        let partition = self.store.partition(id).await?;
        if self.is_too_deep(&partition) {
            return self.split(&partition).await;
        }
        match self.held_back {
            Some(held) => held.lock().unwrap_or_else(PoisonError::into_inner).push(partition),
            None => self.expand(&[partition]).await?,
        }
        Ok(false)
    }

    /// Publishes every page of these partitions that is neither done nor dead, in turn: a page of each,
    /// then the next of each, so that one with many doesn't hold up the others.
    pub(crate) async fn expand(&self, partitions: &[PartitionRow]) -> Result<(), Trouble> {
        let mut unpublished = Vec::new();
        for partition in partitions.iter().filter(|partition| !partition.progress.published) {
            unpublished.push(match self.table(&partition.slice) {
                Some(table) => self.store.stand(table, partition, self.answers).await?,
                None => partition.clone(),
            });
        }
        let mut lanes: BTreeMap<(&str, bool), Vec<_>> = BTreeMap::new();
        for partition in &unpublished {
            let Some(planned) = partition.planned() else { continue };
            let mut known = self.store.known_pages(partition.id).await?.into_iter().peekable();
            let jobs = (planned.first..=planned.last).filter_map(move |page| {
                let (generation, finished) =
                    known.next_if(|k| k.0 == page).map_or((0, false), |k| (k.1, k.2));
                (!finished).then(|| partition.job(page, generation))
            });
            let lane = (partition.slice.source.as_str(), partition.lane == Lane::Low);
            lanes.entry(lane).or_default().push((partition, planned, jobs));
        }
        for ((source, low), lane) in lanes {
            let to = Address::Lane { source: source.to_owned(), lane: Lane::ALL[usize::from(low)] };
            let (published, jobs): (Vec<_>, Vec<_>) =
                lane.into_iter().map(|(partition, planned, jobs)| ((partition, planned), jobs)).unzip();
            self.queue.publish(&to, in_turn(jobs).map(|job| message(&job))).await?;
            fail::fail_point!("after-expansion");
            for (partition, planned) in published {
                self.store.mark_published(partition.id).await?;
                let (total, pages) = (partition.progress.total.unwrap_or(0), planned.count());
                tracing::info!(partition = partition.id, slice = %partition.slice, total, pages, "expanded");
            }
        }
        Ok(())
    }

    /// Whether the API does not show all of its rows.
    fn is_too_deep(&self, partition: &PartitionRow) -> bool {
        let window = self.table(&partition.slice).and_then(DataTable::window);
        let total = partition.progress.total.unwrap_or(0);
        !partition.subset && window.is_some_and(|window| total > i64::from(window))
    }

    /// Opens the parts of a partition that is too deep, and publishes their first pages.
    async fn split(&self, partition: &PartitionRow) -> Result<bool, Trouble> {
        let parts = match partition.parts {
            Some(_) => Vec::new(),
            None => self.parts_of(&partition.slice),
        };
        let open = self.store.split(partition.id, &parts).await?;
        let jobs: Vec<PageJob> = open.iter().map(|part| part.job(part.progress.first_page, 0)).collect();
        self.publish(&jobs).await?;
        self.store.mark_published(partition.id).await?;
        let total = partition.progress.total.unwrap_or(0);
        tracing::info!(partition = partition.id, slice = %partition.slice, total, parts = open.len(), "too deep: split");
        Ok(open.is_empty())
    }

    /// Its days, or of one day the parts of the first dimension by which it isn't split yet.
    fn parts_of(&self, slice: &Slice) -> Vec<Slice> {
        if slice.from < slice.to {
            let days = slice.from.series(1.day()).take_while(|day| *day <= slice.to);
            return days.map(|day| Slice { from: day, to: day, ..slice.clone() }).collect();
        }
        let source = self.sources.get(&slice.source);
        let stream = source.and_then(|source| source.definition.stream(&slice.stream).ok());
        let dimensions = stream.map(|stream| stream.split_by()).unwrap_or_default();
        let dimension = dimensions.into_iter().find(|(name, _)| !slice.part.contains_key(name));
        let Some((name, values)) = dimension else { return Vec::new() };
        let part = |value: String| {
            let mut slice = slice.clone();
            slice.part.insert(name.clone(), value);
            slice
        };
        values.into_iter().map(part).collect()
    }

    /// Closes a partition that has ended, and the wholes that waited for it; or fetches pages again
    /// where that may complete it.
    pub(crate) async fn seal(&self, id: i64, slice: &Slice) -> Result<(), Trouble> {
        let mut id = id;
        while let Some(sealing) = self.store.seal(id, self.table(slice), self.repairs).await? {
            let report = match sealing {
                Sealing::Closed(report) => report,
                Sealing::Repair(order, reason) => {
                    let RescueOrder { partition, jobs } = order;
                    let round = partition.repairs;
                    tracing::warn!(
                        partition = id, slice = %partition.slice, %reason, round, pages = jobs.len(), "fetching pages again"
                    );
                    self.publish(&jobs).await?;
                    return Ok(());
                }
            };
            let slice = &report.partition.slice;
            for warning in &report.warnings {
                tracing::warn!(partition = id, %slice, %warning, "sealed with a warning");
            }
            match report.verdict {
                Verdict::Sealed => tracing::info!(partition = id, %slice, rows = report.rows, "sealed"),
                Verdict::Incomplete(reason) => tracing::warn!(partition = id, %slice, %reason, "incomplete"),
            }
            match report.partition.parent {
                Some(parent) => id = parent,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Moves on a partition that stood still; returns how many page jobs were published.
    pub(crate) async fn rescued(&self, order: RescueOrder) -> Result<u64, Trouble> {
        let RescueOrder { partition, jobs } = order;
        if self.is_too_deep(&partition) && !partition.progress.published {
            self.split(&partition).await?;
            self.seal(partition.id, &partition.slice).await?;
            return Ok(0);
        }
        if jobs.is_empty() {
            self.seal(partition.id, &partition.slice).await?;
            return Ok(0);
        }
        self.publish(&jobs).await?;
        if partition.progress.total.is_some() || partition.progress.done > 0 {
            self.store.mark_published(partition.id).await?;
        }
        Ok(jobs.len() as u64)
    }

    /// Jobs of one partition, or of its parts.
    async fn publish(&self, jobs: &[PageJob]) -> Result<(), Trouble> {
        let Some(first) = jobs.first() else { return Ok(()) };
        let to = Address::Lane { source: first.slice.source.clone(), lane: first.lane };
        Ok(self.queue.publish(&to, jobs.iter().map(message)).await?)
    }

    fn table(&self, slice: &Slice) -> Option<&DataTable> {
        self.sources.get(&slice.source)?.tables.get(&slice.stream)
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
