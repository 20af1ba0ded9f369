//! Reading the stored answers again after a definition changed: the typed columns are rebuilt, and no
//! request is sent.

use pagemill_core::{DateWord, Slice};
use pagemill_source::Definition;
use pagemill_store::{Answer, Attempt, DataTable, PageWrite, PartitionRow, Slices, Store};
use serde::Serialize;

use crate::{error::Usage, sources::ResolvedSource};

/// Rows of one transaction, unless one page has more.
const ROWS: u32 = 2_000;
/// Pages of one transaction.
const PAGES: u32 = 100;

/// Which stored answers.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// Only of this source.
    pub source: Option<String>,
    /// Only of these streams; empty = of all that the config names.
    pub streams: Vec<String>,
    /// Only of these accounts; empty = of all.
    pub accounts: Vec<String>,
    /// Only of these days.
    pub days: Option<(DateWord, DateWord)>,
}

/// A stream of the config, and which of its slices are meant.
pub struct Chosen<'a> {
    /// Its source's definition.
    pub definition: &'a Definition,
    /// Its table.
    pub table: DataTable,
    /// Its slices.
    pub slices: Slices,
}

/// What a reload did.
#[derive(Debug, Default, Serialize)]
pub struct Reloaded {
    /// Attempts of which answers were read again.
    pub partitions: u64,
    /// Pages read again.
    pub pages: u64,
    /// Their rows.
    pub rows: u64,
    /// Rows of the table that thereby changed or came to be.
    pub changed_rows: u64,
    /// Values among those rows that do not follow their column's grammar, and are NULL.
    pub became_null: u64,
    /// Attempts that this definition had read already.
    pub skipped: u64,
    /// Pages whose answer was not kept (`keep_responses = false`): they are as they were.
    pub without_answer: u64,
    /// Pages whose answer was pruned: so are they.
    pub pruned: u64,
    /// Pages that could not be read, and are as they were.
    pub failed: Vec<FailedPage>,
}

/// How far a reload is.
#[derive(Clone, Copy, Debug)]
pub struct ReloadProgress<'a> {
    /// The slice whose pages come next.
    pub slice: &'a Slice,
    /// Pages read again so far.
    pub done: u64,
    /// Pages to be read again in all.
    pub planned: u64,
}

/// A page that could not be read again.
#[derive(Debug, Serialize)]
pub struct FailedPage {
    /// Whose page.
    pub slice: String,
    /// The attempt.
    pub partition: i64,
    /// Its number.
    pub page: u32,
    /// Why.
    pub error: String,
}

impl Which {
    /// The streams of the config that are meant.
    ///
    /// # Errors
    /// [`Usage`] for what the config does not name; as any query.
    pub async fn of<'a>(
        &self,
        store: &Store,
        resolved: &'a [ResolvedSource],
    ) -> anyhow::Result<Vec<Chosen<'a>>> {
        let sources: Vec<&ResolvedSource> =
            resolved.iter().filter(|r| self.source.as_ref().is_none_or(|s| s == r.name())).collect();
        if let (Some(name), true) = (&self.source, sources.is_empty()) {
            let known: Vec<&str> = resolved.iter().map(ResolvedSource::name).collect();
            return Err(Usage(format!("unknown source '{name}': the config has {}", known.join(", "))).into());
        }
        let mut chosen = Vec::new();
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
            let slices = |(_, table)| Chosen { definition, table, slices: slices.clone() };
            chosen.extend(tables.into_iter().map(slices));
        }
        let of_none = |stream: &&String| !chosen.iter().any(|c| c.table.stream() == **stream);
        if let Some(unknown) = self.streams.iter().find(of_none) {
            return Err(Usage(format!("unknown stream '{unknown}': the config pulls no such stream")).into());
        }
        Ok(chosen)
    }
}

/// Reads the stored answers again, of all slices or of those that another definition has read. What
/// was done stays done: a reload that was broken off goes on from there.
///
/// # Errors
/// As any query. A page that cannot be read is no error: it is reported, and left as it is.
///
/// `observe` hears of each batch before it is read.
pub async fn reload(
    store: &Store,
    chosen: &[Chosen<'_>],
    all: bool,
    observe: &(dyn Fn(ReloadProgress<'_>) + Send + Sync),
) -> anyhow::Result<Reloaded> {
    let mut reloaded = Reloaded::default();
    let mut work = Vec::new();
    for stream in chosen {
        for attempt in store.attempts_in_table(&stream.table, &stream.slices).await? {
            work.push((stream, attempt));
        }
    }
    store.open_months(work.iter().map(|(_, attempt)| &attempt.partition.slice)).await?;
    let pages = |a: &Attempt| if all { a.answers } else { a.stale };
    let planned = work.iter().map(|(_, attempt)| pages(attempt)).sum();
    let mut done = 0;
    for (stream, attempt) in work {
        match attempt.partition.answers_pruned_at {
            Some(_) => {
                reloaded.pruned += (attempt.partition.progress.done as u64).saturating_sub(attempt.answers)
            }
            None => reloaded.without_answer += attempt.pages - attempt.answers,
        }
        if pages(&attempt) == 0 {
            reloaded.skipped += u64::from(attempt.answers > 0);
            continue;
        }
        reloaded.partitions += 1;
        let partition = &attempt.partition;
        let numbers = store.answered_pages(partition.id, (!all).then_some(&stream.table)).await?;
        let at_once = (ROWS / partition.page_size).clamp(1, PAGES) as usize;
        for numbers in numbers.chunks(at_once) {
            observe(ReloadProgress { slice: &partition.slice, done, planned });
            let answers = store.answers(partition.id, numbers).await?;
            if reloaded.batch(store, stream, partition, answers).await? {
                break;
            }
            done += numbers.len() as u64;
        }
    }
    Ok(reloaded)
}

impl Reloaded {
    /// One transaction. Whether a newer attempt took the slice over.
    async fn batch(
        &mut self,
        store: &Store,
        stream: &Chosen<'_>,
        partition: &PartitionRow,
        answers: Vec<Answer>,
    ) -> anyhow::Result<bool> {
        let mut pages = Vec::with_capacity(answers.len());
        let mut other_keys = Vec::new();
        for answer in answers {
            let (page, mut keys) = (answer.page, answer.keys.clone());
            match read(stream, partition, answer) {
                Ok(write) => {
                    let mut now = write.keys.clone();
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
            for page in store.pages_in_table(&stream.table, partition, &other_keys).await? {
                pages.retain(|write| write.job.page != page);
                let error = format!(
                    "its rows have other keys now, and would stand beside the old ones: drop or rename the table {} and \
                     reload, or pull the slice again",
                    stream.table.name()
                );
                self.fail(partition, page, error);
            }
        }
        let rewritten = store.rewrite(&stream.table, &pages).await?;
        if !rewritten.superseded {
            self.pages += pages.len() as u64;
            self.rows += pages.iter().map(|page| page.rows.len() as u64).sum::<u64>();
            self.changed_rows += rewritten.rows;
            let casts = pages.iter().flat_map(|page| &page.casts);
            self.became_null += casts.map(|cast| u64::from(cast.count)).sum::<u64>();
        }
        Ok(rewritten.superseded)
    }

    fn fail(&mut self, partition: &PartitionRow, page: u32, error: String) {
        let slice = partition.slice.to_string();
        self.failed.push(FailedPage { slice, partition: partition.id, page, error });
    }
}

/// A stored answer as the definition reads it now; its body is kept as it is.
fn read(stream: &Chosen<'_>, partition: &PartitionRow, answer: Answer) -> Result<PageWrite, String> {
    let job = partition.job(answer.page, 0);
    let page = stream.definition.decode(&job, answer.body?.into()).map_err(|failure| failure.message)?;
    Ok(PageWrite::new(&stream.table, job, page, answer.requested_at, None))
}
