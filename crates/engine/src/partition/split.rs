use jiff::ToSpan;
use pagemill_core::{PageJob, Slice};
use pagemill_queue::PageQueue;
use pagemill_store::{DataTable, PartitionRow};

use super::PartitionDriver;
use crate::error::ServiceError;

impl<Q: PageQueue> PartitionDriver<Q> {
    /// Opens the parts of a partition that is too deep, and publishes their first pages. Returns whether no
    /// part is open.
    pub(super) async fn split(&self, partition: &PartitionRow) -> Result<bool, ServiceError> {
        let parts = match partition.parts {
            Some(_) => Vec::new(),
            None => self.parts_of(&partition.slice),
        };
        let open = self.store.partitions.split(partition.id, &parts).await?;
        let jobs: Vec<PageJob> = open.iter().map(|part| part.job(part.progress.first_page, 0)).collect();
        self.publish(&jobs).await?;
        self.store.partitions.mark_published(partition.id).await?;
        let total = partition.progress.total.unwrap_or(0);
        tracing::info!(partition = partition.id, slice = %partition.slice, total, parts = open.len(), "too deep: split");
        Ok(open.is_empty())
    }

    /// True if the API does not show all rows of the partition.
    pub(super) fn is_too_deep(&self, partition: &PartitionRow) -> bool {
        let window = self.table(&partition.slice).and_then(DataTable::window);
        let total = partition.progress.total.unwrap_or(0);
        !partition.subset && window.is_some_and(|window| total > i64::from(window))
    }

    /// The days of a slice; of one day the parts of the first dimension by which it isn't split yet.
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
}
