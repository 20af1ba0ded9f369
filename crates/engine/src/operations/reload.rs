//! Decodes the stored responses again after a definition changed: the typed columns are rebuilt, and no
//! request is sent.

use std::time::Duration;

use anyhow::Context;
use pagemill_core::{Slice, Verdict};
use pagemill_store::{
    Applied, AttemptResponses, DataTable, PageWrite, PartitionRow, ProofReport, Proving, Reload, Store,
    StoredResponse, decompress,
};
use serde::Serialize;

use super::slice_filter::{SelectedStream, SliceFilter};
use crate::sources::ResolvedSource;

/// Rows of one transaction, unless one page has more.
const ROWS: u32 = 2_000;
/// Pages of one transaction.
const PAGES: u32 = 100;
/// Before a reload is applied again that had to wait for another attempt.
const WAIT: Duration = Duration::from_millis(500);

/// The result of a reload.
#[derive(Debug, Default, Serialize)]
pub struct Reloaded {
    /// Attempts of which responses were read again.
    pub partitions: u64,
    /// Pages read again.
    pub pages: u64,
    /// Rows in those pages.
    pub rows: u64,
    /// Rows of the table that the reload changed, added or deleted.
    pub changed_rows: u64,
    /// Values among those rows that do not follow their column's grammar, and are NULL.
    pub became_null: u64,
    /// Attempts that this definition had read already.
    pub skipped: u64,
    /// Pages whose response was not kept (`keep_responses = false`): their slices are as they were.
    pub without_response: u64,
    /// Pages whose response was pruned: their slices are as they were.
    pub pruned: u64,
    /// What could not be read again; these slices are as they were.
    pub failed: Vec<FailedPage>,
}

/// An event of a reload, for its observer.
#[derive(Clone, Copy, Debug)]
pub enum ReloadEvent<'a> {
    /// The tables were migrated: what changed about them.
    Migrated(&'a [String]),
    /// Pages are about to be read.
    Progress {
        /// The slice whose pages come next.
        slice: &'a Slice,
        /// Pages read again so far.
        done: u64,
        /// Pages to be read again in all.
        planned: u64,
    },
}

/// Receives the events of a reload.
pub type ReloadObserver<'a> = &'a (dyn Fn(ReloadEvent<'_>) + Send + Sync);

/// A slice that could not be read again, or a page of it.
#[derive(Debug, Serialize)]
pub struct FailedPage {
    /// The slice.
    pub slice: String,
    /// The attempt.
    pub partition: i64,
    /// The page's number, if a page is at fault.
    pub page: Option<u32>,
    /// Why.
    pub error: String,
}

/// Migrates the tables, and reads the stored responses again: of all attempts whose rows the tables have, or of those of
/// which another definition has read a page. Each reload is an attempt of its own: its rows are staged, proved and put into
/// the table as those of a pull are, or not at all.
///
/// # Errors
/// [`UsageError`](crate::error::UsageError) for what the config does not name; a table that does not fit its definition; PostgreSQL being
/// away. An attempt that cannot be read is no error: it is reported, and the table stays as it is.
pub async fn reload(
    store: &Store,
    resolved: &[ResolvedSource],
    filter: &SliceFilter,
    all: bool,
    apply_at_most: Duration,
    observe: ReloadObserver<'_>,
) -> anyhow::Result<Reloaded> {
    let selected = filter.select(store, resolved).await?;
    let tables: Vec<DataTable> = selected.iter().map(|stream| stream.table.clone()).collect();
    let migrated = store.migrate(&tables).await.context(
        "the stored responses were not read again (they fill any table: rename or drop the one that does not fit, then \
         reload)",
    )?;
    observe(ReloadEvent::Migrated(&migrated.changes));
    let mut work = Vec::new();
    for stream in &selected {
        let attempts = store.responses.attempts_in_table(&stream.table, &stream.slices).await?;
        let whole = |attempt: &AttemptResponses| attempt.partition.root.unwrap_or(attempt.partition.id);
        let wholes = attempts.chunk_by(|a, b| whole(a) == whole(b));
        work.extend(wholes.map(|family| Work { stream, whole: whole(&family[0]), family: family.to_vec() }));
    }
    let slices = work.iter().flat_map(|work| &work.family).map(|attempt| &attempt.partition.slice);
    store.open_months(slices).await?;
    let mut reloaded = Reloaded::default();
    work.retain(|work| reloaded.is_to_be_read(work, all));
    let planned = work.iter().map(Work::pages).sum();
    let mut done = 0;
    for work in &work {
        let slice = &work.family[0].partition.slice;
        let progress = |more| observe(ReloadEvent::Progress { slice, done: done + more, planned });
        reloaded.attempt(store, work, apply_at_most, &progress).await?;
        done += work.pages();
    }
    Ok(reloaded)
}

/// An attempt whose responses are read again, with its parts.
struct Work<'a> {
    stream: &'a SelectedStream<'a>,
    whole: i64,
    family: Vec<AttemptResponses>,
}

impl Work<'_> {
    fn pages(&self) -> u64 {
        self.family.iter().map(|attempt| attempt.responses).sum()
    }
}

/// Why a slice stays as it is.
struct Left {
    /// The page that cannot be read, if it is for one.
    page: Option<u32>,
    error: String,
}

impl Left {
    fn whole(error: impl Into<String>) -> Vec<Self> {
        vec![Self { page: None, error: error.into() }]
    }
}

impl Reloaded {
    /// Counts the attempts that need not or cannot be read again.
    fn is_to_be_read(&mut self, work: &Work<'_>, all: bool) -> bool {
        let mut lacking = 0;
        for AttemptResponses { partition, pages, responses, .. } in &work.family {
            let (count, without) = match partition.responses_pruned_at {
                Some(_) => (&mut self.pruned, (partition.progress.done as u64).saturating_sub(*responses)),
                None => (&mut self.without_response, pages - responses),
            };
            *count += without;
            lacking += without;
        }
        let stale: u64 = work.family.iter().map(|attempt| attempt.stale).sum();
        let is_current = lacking == 0 && stale == 0 && !all;
        self.skipped += u64::from(is_current);
        lacking == 0 && !is_current
    }

    /// Reads an attempt's stored responses again. `observe` sees how many were read before each batch.
    async fn attempt(
        &mut self,
        store: &Store,
        work: &Work<'_>,
        apply_at_most: Duration,
        observe: &(dyn Fn(u64) + Send + Sync),
    ) -> anyhow::Result<()> {
        let opened = match store.responses.open_reload(work.whole).await? {
            Reload::Open(opened) => opened,
            Reload::Pulled(run) => {
                let why = format!("run {run} is pulling it: reload when that run has ended");
                self.leave(work, Left::whole(why));
                return Ok(());
            }
            Reload::Replaced => {
                let why = "its days are shared with another pull: pull it again";
                self.leave(work, Left::whole(why));
                return Ok(());
            }
        };
        let copy = opened[0].0.id;
        let stored = self.store_pages(store, work.stream, &opened, observe).await?;
        let left = match stored {
            Ok(()) => self.replace(store, work.stream, &opened, apply_at_most).await?,
            Err(left) => Some(left),
        };
        if let Some(left) = left {
            let reason = left.first().map_or_else(String::new, |left| left.error.clone());
            store.partitions.abandon(copy, &format!("reload: {reason}")).await?;
            self.leave(work, left);
        } else {
            self.partitions += 1;
        }
        Ok(())
    }

    /// Stores the pages of a reload as the definition reads them now. The inner error names pages that cannot be read.
    async fn store_pages(
        &mut self,
        store: &Store,
        stream: &SelectedStream<'_>,
        opened: &[(PartitionRow, i64)],
        observe: &(dyn Fn(u64) + Send + Sync),
    ) -> anyhow::Result<Result<(), Vec<Left>>> {
        let mut done = 0;
        for (partition, of) in opened {
            let at_once = (ROWS / partition.page_size).clamp(1, PAGES) as usize;
            for numbers in store.responses.pages(*of).await?.chunks(at_once) {
                observe(done);
                let (mut writes, mut left) = (Vec::with_capacity(numbers.len()), Vec::new());
                for response in store.responses.get(*of, numbers).await? {
                    let page = response.page;
                    match read(stream, partition, response) {
                        Ok(write) => writes.push(write),
                        Err(error) => left.push(Left { page: Some(page), error }),
                    }
                }
                if !left.is_empty() {
                    return Ok(Err(left));
                }
                store.pages.write(&stream.table, &writes).await?;
                done += numbers.len() as u64;
                if partition.parts.is_none() {
                    self.count(&writes);
                }
            }
        }
        Ok(Ok(()))
    }

    fn count(&mut self, writes: &[PageWrite]) {
        self.pages += writes.len() as u64;
        self.rows += writes.iter().map(|write| write.rows.len() as u64).sum::<u64>();
        let cast_failures = writes.iter().flat_map(|write| &write.cast_failures);
        self.became_null += cast_failures.map(|cast| u64::from(cast.count)).sum::<u64>();
    }

    /// Proves a reload, the parts before their wholes, and puts its rows into the table; or says why not.
    async fn replace(
        &mut self,
        store: &Store,
        stream: &SelectedStream<'_>,
        opened: &[(PartitionRow, i64)],
        apply_at_most: Duration,
    ) -> anyhow::Result<Option<Vec<Left>>> {
        for (partition, _) in opened.iter().rev() {
            let proving = store.seals.prove(partition.id, Some(&stream.table), 0).await?;
            match proving {
                Some(Proving::Ended(ProofReport { verdict: Verdict::Complete, .. })) => {}
                Some(Proving::Ended(ProofReport { verdict: Verdict::Incomplete(reason), .. })) => {
                    return Ok(Some(Left::whole(reason.to_string())));
                }
                Some(Proving::Repair(..) | Proving::Restage(_)) | None => {
                    return Ok(Some(Left::whole("a pull or another reload of it has begun meanwhile")));
                }
            }
        }
        let whole = opened[0].0.id;
        loop {
            match store.seals.apply(&stream.table, whole, apply_at_most).await? {
                Some(Applied::Sealed(report)) => {
                    let replaced = report.replaced;
                    self.changed_rows += replaced.added + replaced.changed + replaced.gone;
                    store.seals.record_digest(&stream.table, whole).await?;
                    store.seals.clear_staged(&stream.table, whole).await?;
                    return Ok(None);
                }
                Some(Applied::Waiting) => tokio::time::sleep(WAIT).await,
                Some(Applied::Superseded(_, run)) => {
                    return Ok(Some(Left::whole(format!("run {run} has sealed newer data"))));
                }
                Some(Applied::Restage(_)) | None => {
                    return Ok(Some(Left::whole("its responses do not come to the rows that were proved")));
                }
            }
        }
    }

    fn leave(&mut self, work: &Work<'_>, left: Vec<Left>) {
        let partition = &work.family[0].partition;
        let slice = partition.slice.to_string();
        let failed = left.into_iter().map(|Left { page, error }| FailedPage {
            slice: slice.clone(),
            partition: partition.id,
            page,
            error,
        });
        self.failed.extend(failed);
    }
}

/// A page as the definition reads its stored response now; the response is kept as it is.
fn read(
    stream: &SelectedStream<'_>,
    partition: &PartitionRow,
    response: StoredResponse,
) -> Result<PageWrite, String> {
    let job = partition.job(response.page, 0);
    let body = decompress(&response.body).map_err(|e| format!("the stored response is damaged: {e}"))?;
    let page = stream.definition.decode(&job, body.into()).map_err(|failure| failure.message)?;
    let write = PageWrite::new(&stream.table, job, page, response.requested_at, Some(response.body));
    Ok(PageWrite { request_id: response.request_id, ..write })
}
