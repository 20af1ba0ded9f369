use pagemill_core::PageJob;
use pagemill_queue::PageQueue;
use pagemill_store::{Following, PartitionRow, Progress};

use super::PartitionDriver;
use crate::error::ServiceError;

impl<Q: PageQueue> PartitionDriver<Q> {
    /// Advances a partition after these pages of it are done or dead. In a chain the next page is published;
    /// after a first page all others are; after the last page the partition is proved. Returns the whole attempt if that
    /// has ended.
    ///
    /// A permanent error closes the partition as incomplete, with the reason.
    pub(crate) async fn advance(
        &self,
        progress: &Progress,
        pages: &[&PageJob],
    ) -> Result<Option<PartitionRow>, ServiceError> {
        let advanced = self.try_advance(progress, pages).await;
        Ok(self.or_close_incomplete(progress.partition, advanced).await?.unwrap_or_else(|ended| ended))
    }

    async fn try_advance(
        &self,
        progress: &Progress,
        pages: &[&PageJob],
    ) -> Result<Option<PartitionRow>, ServiceError> {
        let Some(job) = pages.first() else { return Ok(None) };
        let slice = &job.slice;
        let mut ended = progress.has_ended();
        if self.table(slice).is_some_and(|table| table.is_chained()) {
            for job in pages {
                ended |= self.publish_next(progress, job).await?;
            }
        } else if !ended && !progress.published && pages.iter().any(|job| job.page == progress.first_page) {
            ended |= self.expand_or_split(progress.partition).await?;
        }
        if ended { self.prove(progress.partition, slice).await } else { Ok(None) }
    }

    /// Publishes the page after a done one of a chain. Returns whether a cursor loop ended the chain.
    async fn publish_next(&self, progress: &Progress, job: &PageJob) -> Result<bool, ServiceError> {
        if progress.last_page.is_some_and(|last| job.page >= last) {
            return Ok(false);
        }
        let (cursor, generation) = match self.store.pages.following(progress.partition, job.page).await? {
            Following::Page { cursor, generation } => (cursor, generation),
            Following::Nothing => return Ok(false),
            Following::CursorLoop => return Ok(true),
        };
        fail::fail_point!("before-expansion");
        let next = PageJob { cursor: Some(cursor), ..job.at(job.page + 1, generation) };
        self.publish(&[next]).await?;
        fail::fail_point!("after-expansion");
        if !progress.published {
            self.store.partitions.mark_published(progress.partition).await?;
        }
        Ok(false)
    }
}
