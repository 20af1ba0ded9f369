//! Decodes the stored responses again after a definition changed: the typed columns are rebuilt, and no
//! request is sent.

use anyhow::Context;
use pagemill_core::{DateWord, Slice};
use pagemill_source::Definition;
use pagemill_store::{AttemptResponses, DataTable, PageWrite, PartitionRow, Slices, Store, StoredResponse};
use serde::Serialize;

use crate::{error::UsageError, sources::ResolvedSource};

/// Rows of one transaction, unless one page has more.
const ROWS: u32 = 2_000;
/// Pages of one transaction.
const PAGES: u32 = 100;

/// Selects slices whose stored responses are decoded again or compared.
#[derive(Clone, Debug, Default)]
pub struct SliceFilter {
    /// Only of this source.
    pub source: Option<String>,
    /// Only of these streams; empty = of all that the config names.
    pub streams: Vec<String>,
    /// Only of these accounts; empty = of all.
    pub accounts: Vec<String>,
    /// Only of these days.
    pub days: Option<(DateWord, DateWord)>,
}

/// A stream of the config, and the slices of it that a filter selects.
pub struct SelectedStream<'a> {
    /// The source's definition.
    pub definition: &'a Definition,
    /// The stream's table.
    pub table: DataTable,
    /// The slices that are selected.
    pub slices: Slices,
}

/// The result of a reload.
#[derive(Debug, Default, Serialize)]
pub struct Reloaded {
    /// Attempts of which responses were read again.
    pub partitions: u64,
    /// Pages read again.
    pub pages: u64,
    /// Rows in those pages.
    pub rows: u64,
    /// Rows of the table that the reload changed or added.
    pub changed_rows: u64,
    /// Values among those rows that do not follow their column's grammar, and are NULL.
    pub became_null: u64,
    /// Attempts that this definition had read already.
    pub skipped: u64,
    /// Pages whose response was not kept (`keep_responses = false`): they are as they were.
    pub without_response: u64,
    /// Pages whose response was pruned: they are as they were.
    pub pruned: u64,
    /// Pages that could not be read, and are as they were.
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

/// A page that could not be read again.
#[derive(Debug, Serialize)]
pub struct FailedPage {
    /// The slice.
    pub slice: String,
    /// The attempt.
    pub partition: i64,
    /// The page's number.
    pub page: u32,
    /// Why the response could not be decoded.
    pub error: String,
}

impl SliceFilter {
    /// The streams of the config that the filter selects.
    ///
    /// # Errors
    /// [`UsageError`] for a name that the config does not have; PostgreSQL being away.
    pub async fn select<'a>(
        &self,
        store: &Store,
        resolved: &'a [ResolvedSource],
    ) -> anyhow::Result<Vec<SelectedStream<'a>>> {
        let sources: Vec<&ResolvedSource> =
            resolved.iter().filter(|r| self.source.as_ref().is_none_or(|s| s == r.name())).collect();
        if let (Some(name), true) = (&self.source, sources.is_empty()) {
            let known: Vec<&str> = resolved.iter().map(ResolvedSource::name).collect();
            return Err(
                UsageError(format!("unknown source '{name}': the config has {}", known.join(", "))).into()
            );
        }
        let mut selected = Vec::new();
        for source in sources {
            let days = match self.days {
                Some((from, to)) => {
                    let today = store.today_in(source.definition().zone()).await?;
                    Some((from.resolve(today), to.resolve(today)))
                }
                None => None,
            };
            let slices = Slices { accounts: self.accounts.clone(), days };
            let mut tables: Vec<(String, DataTable)> = source.tables(store)?.into_iter().collect();
            tables.retain(|(name, _)| self.streams.is_empty() || self.streams.contains(name));
            tables.sort_by(|(a, _), (b, _)| a.cmp(b));
            let definition = source.definition();
            let slices = |(_, table)| SelectedStream { definition, table, slices: slices.clone() };
            selected.extend(tables.into_iter().map(slices));
        }
        let of_none = |stream: &&String| !selected.iter().any(|c| c.table.stream() == **stream);
        if let Some(unknown) = self.streams.iter().find(of_none) {
            return Err(
                UsageError(format!("unknown stream '{unknown}': the config pulls no such stream")).into()
            );
        }
        Ok(selected)
    }
}

/// Migrates the tables, and reads the stored responses again: all of them, or those that another
/// definition has read. What was done stays done: a reload that was broken off goes on from there.
///
/// # Errors
/// [`UsageError`] for what the config does not name; a table that does not fit its definition; PostgreSQL being
/// away. A page that cannot be read is no error: it is reported, and left as it is.
pub async fn reload(
    store: &Store,
    resolved: &[ResolvedSource],
    filter: &SliceFilter,
    all: bool,
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
        for attempt in store.responses.attempts_in_table(&stream.table, &stream.slices).await? {
            work.push((stream, attempt));
        }
    }
    store.open_months(work.iter().map(|(_, attempt)| &attempt.partition.slice)).await?;
    let planned = work.iter().map(|(_, attempt)| pages_of(attempt, all)).sum();
    let mut reloaded = Reloaded::default();
    let mut done = 0;
    for (stream, attempt) in work {
        let slice = &attempt.partition.slice;
        let progress = |more| observe(ReloadEvent::Progress { slice, done: done + more, planned });
        let read = reloaded.attempt(store, stream, &attempt, all, &progress).await?;
        done += read;
    }
    Ok(reloaded)
}

/// Pages of an attempt that are read again.
fn pages_of(attempt: &AttemptResponses, all: bool) -> u64 {
    if all { attempt.responses } else { attempt.stale }
}

impl Reloaded {
    /// Reads an attempt's stored responses again; returns how many. `observe` sees how many were read
    /// before each batch.
    async fn attempt(
        &mut self,
        store: &Store,
        stream: &SelectedStream<'_>,
        attempt: &AttemptResponses,
        all: bool,
        observe: &(dyn Fn(u64) + Send + Sync),
    ) -> anyhow::Result<u64> {
        let partition = &attempt.partition;
        match partition.responses_pruned_at {
            Some(_) => self.pruned += (partition.progress.done as u64).saturating_sub(attempt.responses),
            None => self.without_response += attempt.pages - attempt.responses,
        }
        if pages_of(attempt, all) == 0 {
            self.skipped += u64::from(attempt.responses > 0);
            return Ok(0);
        }
        self.partitions += 1;
        let numbers = store.responses.pages(partition.id, (!all).then_some(&stream.table)).await?;
        let at_once = (ROWS / partition.page_size).clamp(1, PAGES) as usize;
        let mut done = 0;
        for numbers in numbers.chunks(at_once) {
            observe(done);
            let responses = store.responses.get(partition.id, numbers).await?;
            if self.batch(store, stream, partition, responses).await? {
                break;
            }
            done += numbers.len() as u64;
        }
        Ok(done)
    }

    /// Rewrites pages in one transaction. Returns whether a newer attempt took the slice over.
    async fn batch(
        &mut self,
        store: &Store,
        stream: &SelectedStream<'_>,
        partition: &PartitionRow,
        responses: Vec<StoredResponse>,
    ) -> anyhow::Result<bool> {
        let mut pages = Vec::with_capacity(responses.len());
        let mut other_keys = Vec::new();
        for response in responses {
            let (page, mut keys) = (response.page, response.key_hashes.clone());
            match read(stream, partition, response) {
                Ok(write) => {
                    let mut now = write.key_hashes.clone();
                    keys.sort_unstable();
                    now.sort_unstable();
                    if keys != now {
                        other_keys.push(page);
                    }
                    pages.push(write);
                }
                Err(error) => self.fail(partition, page, error),
            }
        }
        if !other_keys.is_empty() {
            for page in store.responses.pages_in_table(&stream.table, partition, &other_keys).await? {
                pages.retain(|write| write.job.page != page);
                let error = format!(
                    "its rows have other keys now, and would stand beside the old ones: drop or rename the table {} and \
                     reload, or pull the slice again",
                    stream.table.name()
                );
                self.fail(partition, page, error);
            }
        }
        let rewritten = store.responses.rewrite(&stream.table, &pages).await?;
        if !rewritten.superseded {
            self.pages += pages.len() as u64;
            self.rows += pages.iter().map(|page| page.rows.len() as u64).sum::<u64>();
            self.changed_rows += rewritten.rows;
            let cast_failures = pages.iter().flat_map(|page| &page.cast_failures);
            self.became_null += cast_failures.map(|cast| u64::from(cast.count)).sum::<u64>();
        }
        Ok(rewritten.superseded)
    }

    fn fail(&mut self, partition: &PartitionRow, page: u32, error: String) {
        let slice = partition.slice.to_string();
        self.failed.push(FailedPage { slice, partition: partition.id, page, error });
    }
}

/// A page as the definition reads its stored response now; the response is kept as it is.
fn read(
    stream: &SelectedStream<'_>,
    partition: &PartitionRow,
    response: StoredResponse,
) -> Result<PageWrite, String> {
    let job = partition.job(response.page, 0);
    let page = stream.definition.decode(&job, response.body?.into()).map_err(|failure| failure.message)?;
    Ok(PageWrite::new(&stream.table, job, page, response.requested_at, None))
}
