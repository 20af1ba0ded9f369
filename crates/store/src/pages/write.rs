//! The transaction of a batch: the ledger's page rows, their responses, the data rows, and last the
//! partitions' counters, all or nothing.

mod params;
mod statements;

use std::collections::HashSet;

use deadpool_postgres::{Object, Transaction};
use futures_util::future;
use tokio_postgres::{Row, error::SqlState};

use self::{
    params::{CounterParams, LedgerParams},
    statements::Statements,
};
use super::{Pages, past::Past};
use crate::{
    error::StoreError, error::StoreErrorKind, error::kind_of, page_write::PageWrite, partitions::Progress,
    rows::RowParams, table::DataTable,
};

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Written {
    /// For each page of the batch, in order: whether it was stored. A page that was not is a
    /// duplicate, of an older generation, or of a partition that is closed.
    pub stored: Vec<bool>,
    /// The partitions of the stored pages, as they stand now.
    pub progress: Vec<Progress>,
}

/// The end of one try at the transaction.
enum BatchOutcome {
    /// The partitions as they stand now, as the counters return them.
    Committed(Vec<Row>),
    /// These positions must not be in the batch; nothing was changed.
    Refused(Vec<usize>),
    /// A row was there that should have been new; nothing was changed.
    Occupied,
}

/// The statement that puts rows into the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RowStatement {
    Copy,
    Upsert,
}

impl Pages {
    /// Stores a batch of pages of one table in one transaction. Rows are sorted by key, so that
    /// writers never deadlock; a key that repeats within the batch is taken from the later request.
    ///
    /// Pages that the ledger refuses are left out and reported, the others are stored without them. An unchanged
    /// page whose earlier page has been pruned is left out too.
    ///
    /// After a connection that broke during the commit, writing the same batch again tells: what was stored
    /// is then refused as a duplicate.
    pub async fn write(&self, table: &DataTable, pages: &[PageWrite]) -> Result<Written, StoreError> {
        let mut client = self.database.client().await?;
        let statements = Statements::prepare(&client, table).await?;
        let mut included = newest_copies(pages);
        let mut progress = Vec::new();
        let new = pages.iter().all(|page| self.pasts.of(page.job.partition) == Past::Nothing);
        let mut statement = if new { RowStatement::Copy } else { RowStatement::Upsert };
        while !included.is_empty() {
            match try_write(&mut client, &statements, table, pages, &included, statement).await? {
                BatchOutcome::Committed(counted) => {
                    if statement == RowStatement::Upsert && table.is_by_date() {
                        self.pasts.note(counted.iter().map(|row| (row.get("id"), Past::from_row(row))));
                    }
                    progress = counted.iter().map(Progress::from_row).collect();
                    break;
                }
                BatchOutcome::Refused(refused) => included.retain(|i| !refused.contains(i)),
                BatchOutcome::Occupied => {
                    self.pasts.note(pages.iter().map(|page| (page.job.partition, Past::Other)));
                    statement = RowStatement::Upsert;
                }
            }
        }
        let mut stored = vec![false; pages.len()];
        included.iter().for_each(|&i| stored[i] = true);
        Ok(Written { stored, progress })
    }
}

/// One copy of each page, the one requested last, in the ledger's order.
fn newest_copies(pages: &[PageWrite]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..pages.len()).collect();
    order.sort_by_key(|&i| {
        (pages[i].job.partition, pages[i].job.page, std::cmp::Reverse(pages[i].requested_at))
    });
    order.dedup_by_key(|i| (pages[*i].job.partition, pages[*i].job.page));
    order
}

/// What the server said to each kind of statement of a batch.
struct Replies {
    ledger: Result<LedgerReply, tokio_postgres::Error>,
    responses: Result<(), tokio_postgres::Error>,
    rows: Result<u64, tokio_postgres::Error>,
}

/// The pages that the ledger accepted, and the counters if it accepted all.
struct LedgerReply {
    accepted: Vec<Row>,
    counted: Option<Vec<Row>>,
}

async fn try_write(
    client: &mut Object,
    statements: &Statements,
    table: &DataTable,
    pages: &[PageWrite],
    included: &[usize],
    statement: RowStatement,
) -> Result<BatchOutcome, StoreError> {
    let batch: Vec<&PageWrite> = included.iter().map(|&i| &pages[i]).collect();
    let tx = client.transaction().await?;
    let replies = send(&tx, statements, table, &batch, statement).await;
    let outcome = match judge(replies, &batch, statement)? {
        BatchVerdict::Good(counted) => {
            fail::fail_point!("before-commit");
            tx.commit().await?;
            fail::fail_point!("after-commit", |_| Err(StoreError::new(
                StoreErrorKind::Unavailable,
                "the answer to the commit is lost"
            )));
            return Ok(BatchOutcome::Committed(counted));
        }
        BatchVerdict::Refused(refused) => {
            BatchOutcome::Refused(refused.iter().map(|&at| included[at]).collect())
        }
        BatchVerdict::Occupied => BatchOutcome::Occupied,
    };
    tx.rollback().await?;
    Ok(outcome)
}

/// Sends all statements but the counters before the first reply comes. The counters follow as soon as the ledger has said
/// which pages are new, while the server is still busy with the rows.
async fn send(
    tx: &Transaction<'_>,
    statements: &Statements,
    table: &DataTable,
    batch: &[&PageWrite],
    statement: RowStatement,
) -> Replies {
    let (unchanged, decoded): (Vec<&PageWrite>, Vec<&PageWrite>) =
        batch.iter().partition(|page| page.unchanged.is_some());
    let (decoded_ledger, unchanged_ledger) = (LedgerParams::new(&decoded), LedgerParams::new(&unchanged));
    let rows = RowParams::new(table, &decoded);
    let ledger = async {
        let decoded = async {
            let params = [&decoded_ledger.pages()[..], &[&table.decode_hash]].concat();
            if decoded.is_empty() { Ok(Vec::new()) } else { tx.query(&statements.decoded, &params).await }
        };
        let unchanged = async {
            let params = unchanged_ledger.unchanged();
            if unchanged.is_empty() { Ok(Vec::new()) } else { tx.query(&statements.unchanged, &params).await }
        };
        let (mut accepted, unchanged) = future::try_join(decoded, unchanged).await?;
        accepted.extend(unchanged);
        if accepted.len() < batch.len() {
            return Ok(LedgerReply { accepted, counted: None });
        }
        let counts = CounterParams::new(batch, &accepted);
        let counted = tx.query(&statements.counters, &counts.params()).await?;
        Ok(LedgerReply { accepted, counted: Some(counted) })
    };
    let responses = async {
        if let Some(responses) = decoded_ledger.responses() {
            let params = [&responses[..], &[&table.decode_hash]].concat();
            tx.execute(&statements.responses, &params).await?;
        }
        if let Some(responses) = unchanged_ledger.unchanged_responses() {
            tx.execute(&statements.unchanged_responses, &responses).await?;
        }
        Ok(())
    };
    let rows = async {
        match statement {
            RowStatement::Copy => rows.copy(tx, &statements.copy).await,
            RowStatement::Upsert => rows.upsert(tx, &statements.upsert).await,
        }
    };
    let (ledger, responses, rows) = future::join3(ledger, responses, rows).await;
    Replies { ledger, responses, rows }
}

/// What the replies come to.
enum BatchVerdict {
    /// All may be committed; the counters' rows.
    Good(Vec<Row>),
    /// These positions of the batch must not be in it.
    Refused(Vec<usize>),
    /// A row was there that should have been new.
    Occupied,
}

/// The statement that failed first says why; those after it only echo an aborted transaction.
fn judge(
    replies: Replies,
    batch: &[&PageWrite],
    statement: RowStatement,
) -> Result<BatchVerdict, StoreError> {
    let Replies { ledger, responses, rows } = replies;
    let aborted = |e: &tokio_postgres::Error| e.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION);
    let ledger = match ledger {
        Err(error) if !aborted(&error) => return Err(error.into()),
        // What the ledger refuses may have been stored by another, and so be in the way of these rows.
        Ok(LedgerReply { accepted, counted: None }) => {
            let key = |row: &Row| (row.get("partition"), row.get("page"));
            let accepted: HashSet<(i64, i32)> = accepted.iter().map(key).collect();
            return Ok(refused(batch, |page| {
                !accepted.contains(&(page.job.partition, page.job.page as i32))
            }));
        }
        ledger => ledger,
    };
    responses?;
    match rows {
        // Whatever the table has against the copies, the upsert says it better.
        Err(error)
            if statement == RowStatement::Copy
                && error.as_db_error().is_some_and(|db| kind_of(db.code()) == StoreErrorKind::Permanent) =>
        {
            return Ok(BatchVerdict::Occupied);
        }
        rows => rows?,
    };
    let counted = ledger?.counted.unwrap_or_default();
    let open: HashSet<i64> = counted.iter().map(|row| row.get("id")).collect();
    Ok(match refused(batch, |page| !open.contains(&page.job.partition)) {
        BatchVerdict::Refused(closed) if closed.is_empty() => BatchVerdict::Good(counted),
        closed => closed,
    })
}

fn refused(batch: &[&PageWrite], is_refused: impl Fn(&PageWrite) -> bool) -> BatchVerdict {
    BatchVerdict::Refused((0..batch.len()).filter(|&at| is_refused(batch[at])).collect())
}
