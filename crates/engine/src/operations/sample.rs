//! One page of a stream, fetched without a run: for trying a definition out.

use std::time::{Duration, Instant};

use jiff::civil::Date;
use pagemill_core::{FetchedPage, Lane, PageJob, Slice, WriteMode};
use pagemill_source::{Client, Credential, Definition, Fetch, Stream};

/// How long a report that the API prepares first is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// The job of a stream's first page.
pub fn sample_job(definition: &Definition, stream: &Stream, account: &str, day: Date) -> PageJob {
    PageJob {
        v: PageJob::VERSION,
        partition: 0,
        run: 0,
        slice: Slice {
            source: definition.name().to_owned(),
            stream: stream.name().to_owned(),
            account: account.to_owned(),
            from: day,
            to: day,
            part: Default::default(),
        },
        page: 1,
        page_size: stream.page_size(),
        generation: 0,
        attempt: 0,
        lane: Lane::default(),
        cursor: None,
        write_mode: WriteMode::Direct,
        baseline: None,
    }
}

/// Fetches a page. A report that the API prepares first is waited for; `observe` sees each wait and the
/// task's name.
///
/// # Errors
/// A request that fails; a report that is not ready in time.
pub async fn fetch_sample(
    client: &Client,
    mut job: PageJob,
    credential: Option<&Credential>,
    observe: &mut (dyn FnMut(&str, Duration) + Send),
) -> anyhow::Result<FetchedPage> {
    let until = Instant::now() + PATIENCE;
    loop {
        match client.fetch(&job, credential).await? {
            Fetch::Page(page) => return Ok(*page),
            Fetch::Unchanged { .. } => unreachable!("no page is known"),
            Fetch::RestartTask(failure) => return Err(failure.into()),
            Fetch::Preparing { cursor, wait } => {
                anyhow::ensure!(Instant::now() + wait < until, "task {cursor} takes too long");
                observe(&cursor, wait);
                job.cursor = Some(cursor);
                tokio::time::sleep(wait).await;
            }
        }
    }
}
