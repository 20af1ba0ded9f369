//! The transaction of a batch: the ledger's page rows, their responses, the data rows, and last the
//! partitions' counters, all or nothing.

mod params;
mod statements;

use std::collections::{HashMap, HashSet};

use deadpool_postgres::{Object, Transaction};
use futures_util::future;
use pagemill_core::WriteMode;
use tokio_postgres::{Row, error::SqlState};

use self::{
    params::{CounterParams, LedgerParams},
    statements::Statements,
};
use super::{Pages, baseline::BaselineHashes};
use crate::{
    error::StoreError,
    error::StoreErrorKind,
    error::kind_of,
    page_write::PageWrite,
    partitions::{Progress, write_mode_from},
    rows::{StagedRows, TableRows},
    table::DataTable,
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
    /// Rows of these partitions are to be written in another way than the jobs say; nothing was changed.
    OtherMode(Vec<(i64, WriteMode)>),
}

/// The statement that puts rows into the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RowStatement {
    Copy,
    Upsert,
}

/// What all tries at a batch share.
struct Batch<'a> {
    statements: Statements,
    table: &'a DataTable,
    pages: &'a [PageWrite],
    /// What pages of a staged attempt are compared with.
    baseline: BaselineHashes,
    /// Partitions whose jobs do not know the ledger's last word on how rows are written: this is it, without a baseline.
    modes: HashMap<i64, WriteMode>,
    /// True if the database can COPY.
    copies: bool,
}

impl Pages {
    /// Stores a batch of pages of one table in one transaction. Rows that go into the table are sorted by key, so that
    /// writers never deadlock; a key that repeats within the batch is taken from the later request. Rows of staged
    /// attempts are put beside the table.
    ///
    /// Pages that the ledger refuses are left out and reported, the others are stored without them. An unchanged page
    /// whose earlier page has been pruned, or is no longer the one to compare with, is left out too.
    ///
    /// After a connection that broke during the commit, writing the same batch again tells: what was stored
    /// is then refused as a duplicate.
    pub async fn write(&self, table: &DataTable, pages: &[PageWrite]) -> Result<Written, StoreError> {
        let mut client = self.database.client().await?;
        let statements = Statements::prepare(&client, table).await?;
        let decoded: Vec<&PageWrite> = pages.iter().filter(|page| page.unchanged.is_none()).collect();
        let baseline = BaselineHashes::read(&client, &decoded).await?;
        let modes = HashMap::new();
        let mut batch = Batch { statements, table, pages, baseline, modes, copies: self.copies };
        let mut included = newest_copies(pages);
        let mut progress = Vec::new();
        let partitions = || pages.iter().map(|page| page.job.partition);
        let copies = self.copies && !self.occupied.any(partitions());
        let mut statement = if copies { RowStatement::Copy } else { RowStatement::Upsert };
        while !included.is_empty() {
            match batch.try_write(&mut client, &included, statement).await? {
                BatchOutcome::Committed(counted) => {
                    progress = counted.iter().map(Progress::from_row).collect();
                    break;
                }
                BatchOutcome::Refused(refused) => included.retain(|i| !refused.contains(i)),
                BatchOutcome::Occupied => {
                    self.occupied.note(partitions());
                    statement = RowStatement::Upsert;
                }
                BatchOutcome::OtherMode(modes) => batch.modes.extend(modes),
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

impl Batch<'_> {
    async fn try_write(
        &self,
        client: &mut Object,
        included: &[usize],
        statement: RowStatement,
    ) -> Result<BatchOutcome, StoreError> {
        let pages: Vec<&PageWrite> = included.iter().map(|&i| &self.pages[i]).collect();
        let tx = client.transaction().await?;
        let replies = self.send(&tx, &pages, statement).await;
        let outcome = match self.judge(replies, &pages, statement)? {
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
            BatchVerdict::OtherMode(modes) => BatchOutcome::OtherMode(modes),
        };
        tx.rollback().await?;
        Ok(outcome)
    }

    /// Sends all statements but the counters before the first reply comes. The counters follow as soon as the ledger has
    /// said which pages are new, while the server is still busy with the rows.
    async fn send(&self, tx: &Transaction<'_>, pages: &[&PageWrite], statement: RowStatement) -> Replies {
        let statements = &self.statements;
        let (unchanged, decoded): (Vec<&PageWrite>, Vec<&PageWrite>) =
            pages.iter().partition(|page| page.unchanged.is_some());
        let (decoded_ledger, unchanged_ledger) = (LedgerParams::new(&decoded), LedgerParams::new(&unchanged));
        let ledger = async {
            let decoded = async {
                let params = [&decoded_ledger.pages()[..], &[&self.table.decode_hash]].concat();
                if decoded.is_empty() { Ok(Vec::new()) } else { tx.query(&statements.decoded, &params).await }
            };
            let unchanged = async {
                let params = unchanged_ledger.unchanged();
                if unchanged.is_empty() {
                    Ok(Vec::new())
                } else {
                    tx.query(&statements.unchanged, &params).await
                }
            };
            let (mut accepted, unchanged) = future::try_join(decoded, unchanged).await?;
            accepted.extend(unchanged);
            if accepted.len() < pages.len() {
                return Ok(LedgerReply { accepted, counted: None });
            }
            let counts = CounterParams::new(pages, &accepted);
            let counted = tx.query(&statements.counters, &counts.params()).await?;
            Ok(LedgerReply { accepted, counted: Some(counted) })
        };
        let responses = async {
            if let Some(responses) = decoded_ledger.responses() {
                let params = [&responses[..], &[&self.table.decode_hash]].concat();
                tx.execute(&statements.responses, &params).await?;
            }
            if let Some(responses) = unchanged_ledger.unchanged_responses() {
                tx.execute(&statements.unchanged_responses, &responses).await?;
            }
            Ok(())
        };
        let rows = self.send_rows(tx, pages, statement);
        let (ledger, responses, rows) = future::join3(ledger, responses, rows).await;
        Replies { ledger, responses, rows }
    }

    /// Puts the rows into the table, or beside it.
    async fn send_rows(
        &self,
        tx: &Transaction<'_>,
        pages: &[&PageWrite],
        statement: RowStatement,
    ) -> Result<u64, tokio_postgres::Error> {
        let (direct, staged): (Vec<&PageWrite>, Vec<&PageWrite>) =
            pages.iter().partition(|page| self.mode(page).is_direct());
        let statements = &self.statements;
        let table = async {
            let rows = TableRows::new(self.table, &direct);
            match statement {
                RowStatement::Copy => rows.copy(tx, &statements.copy).await,
                RowStatement::Upsert => rows.upsert(tx, &statements.upsert).await,
            }
        };
        let beside = async {
            if staged.is_empty() {
                return Ok(0);
            }
            let rows = StagedRows::new(self.table, &staged, |page| self.unchanged(page));
            rows.unstage(tx, &statements.unstage).await?;
            match self.copies {
                true => rows.copy(tx, &statements.stage_copy).await,
                false => rows.insert(tx, &statements.stage_insert).await,
            }
        };
        Ok(table.await? + beside.await?)
    }

    fn mode(&self, page: &PageWrite) -> WriteMode {
        *self.modes.get(&page.job.partition).unwrap_or(&page.job.write_mode)
    }

    /// Hashes of rows that are in the table as they are.
    fn unchanged(&self, page: &PageWrite) -> HashSet<i64> {
        if self.modes.contains_key(&page.job.partition) {
            return HashSet::new();
        }
        self.baseline.near(page)
    }

    /// The statement that failed first says why; those after it only echo an aborted transaction.
    fn judge(
        &self,
        replies: Replies,
        pages: &[&PageWrite],
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
                return Ok(BatchVerdict::Refused(refused(pages, |page| {
                    !accepted.contains(&(page.job.partition, page.job.page as i32))
                })));
            }
            ledger => ledger,
        };
        responses?;
        match rows {
            // Whatever the table has against the copies, the upsert says it better.
            Err(error)
                if statement == RowStatement::Copy
                    && error
                        .as_db_error()
                        .is_some_and(|db| kind_of(db.code()) == StoreErrorKind::Permanent) =>
            {
                return Ok(BatchVerdict::Occupied);
            }
            rows => rows?,
        };
        let counted = ledger?.counted.unwrap_or_default();
        let open: HashMap<i64, &Row> = counted.iter().map(|row| (row.get("id"), row)).collect();
        let closed = refused(pages, |page| !open.contains_key(&page.job.partition));
        if !closed.is_empty() {
            return Ok(BatchVerdict::Refused(closed));
        }
        let other_mode = |page: &&PageWrite| self.other_mode(page, open[&page.job.partition]);
        let modes: Vec<(i64, WriteMode)> = pages.iter().filter_map(other_mode).collect();
        Ok(if modes.is_empty() { BatchVerdict::Good(counted) } else { BatchVerdict::OtherMode(modes) })
    }

    /// The ledger's last word on how the rows of a page's partition are written, if it is another than the page's.
    fn other_mode(&self, page: &PageWrite, partition: &Row) -> Option<(i64, WriteMode)> {
        let mode = write_mode_from(partition.get("write_mode"));
        let baseline: Option<i64> = partition.get("baseline_attempt");
        let compared = page.job.baseline.filter(|_| !self.modes.contains_key(&page.job.partition));
        let fits = self.mode(page) == mode && (compared.is_none() || compared == baseline);
        (!fits).then_some((page.job.partition, mode))
    }
}

/// What the replies come to.
enum BatchVerdict {
    /// All may be committed; the counters' rows.
    Good(Vec<Row>),
    /// These positions of the batch must not be in it.
    Refused(Vec<usize>),
    /// A row was there that should have been new.
    Occupied,
    /// Rows of these partitions are to be written in another way.
    OtherMode(Vec<(i64, WriteMode)>),
}

fn refused(pages: &[&PageWrite], is_refused: impl Fn(&PageWrite) -> bool) -> Vec<usize> {
    (0..pages.len()).filter(|&at| is_refused(pages[at])).collect()
}
