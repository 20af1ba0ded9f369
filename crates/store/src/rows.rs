//! A batch's data rows on their way into the table (by COPY where nothing is in their place, by upsert otherwise), or
//! beside it.

use bytes::{BufMut, BytesMut};
use deadpool_postgres::Transaction;
use futures_util::future;
use jiff::Timestamp;
use pagemill_core::Rows;
use tokio_postgres::{Statement, types::ToSql};

mod arrays;
mod copy;
mod read;
mod staged;
mod wire;

pub(crate) use self::{
    arrays::{ColumnArray, RowRef},
    read::read_rows,
    staged::StagedRows,
};
use self::{
    arrays::{PerPage, column_arrays},
    copy::copy_rows,
    wire::Element,
};
use crate::{page_write::PageWrite, table::DataTable};

/// A connection keeps a buffer as large as its largest statement; beyond this size nothing is gained.
const ROWS_A_STATEMENT: usize = 500;

/// Rows that go into the table: which, in which order, and where each came from.
pub(crate) struct TableRows<'a> {
    table: &'a DataTable,
    rows: Vec<&'a Rows>,
    order: Vec<RowRef>,
    runs: Vec<i64>,
    pages: Vec<i32>,
    requested_at: Vec<Timestamp>,
}

impl<'a> TableRows<'a> {
    pub(crate) fn new(table: &'a DataTable, batch: &[&'a PageWrite]) -> Self {
        let rows: Vec<&Rows> = batch.iter().map(|p| &p.rows).collect();
        let mut order: Vec<RowRef> = (0u32..)
            .zip(&rows)
            .flat_map(|(page, rows)| (0..rows.len() as u32).map(move |row| RowRef { page, row }))
            .collect();
        let compare_by = |key: &[usize], a: &RowRef, b: &RowRef| {
            rows[a.page as usize].compare_keys(a.row as usize, rows[b.page as usize], b.row as usize, key)
        };
        // Columns that hold one value throughout, as most of a key do, tell no rows apart.
        let differs = |&k: &usize| order.iter().any(|at| compare_by(&[k], at, &order[0]).is_ne());
        let key: Vec<usize> = table.key.iter().copied().filter(differs).collect();
        let compare = |a: &RowRef, b: &RowRef| compare_by(&key, a, b);
        // Pages often come in the order of their ids, and then there is nothing to sort.
        if !order.is_sorted_by(|a, b| compare(a, b).is_lt()) {
            // The later request first among equal keys, later rows of a page before earlier ones: the
            // first of each key is then the one to keep.
            order.sort_by(|a, b| {
                compare(a, b)
                    .then_with(|| {
                        batch[b.page as usize].requested_at.cmp(&batch[a.page as usize].requested_at)
                    })
                    .then_with(|| (b.page, b.row).cmp(&(a.page, a.row)))
            });
            order.dedup_by(|later, first| compare(later, first).is_eq());
        }
        Self {
            table,
            rows,
            order,
            runs: batch.iter().map(|p| p.job.run).collect(),
            pages: batch.iter().map(|p| p.job.page as i32).collect(),
            requested_at: batch.iter().map(|p| p.requested_at).collect(),
        }
    }

    /// All of it at once, in statements of a bounded size. Returns the rows inserted or changed.
    pub(crate) async fn upsert(
        &self,
        tx: &Transaction<'_>,
        statement: &Statement,
    ) -> Result<u64, tokio_postgres::Error> {
        let parts = self.order.chunks(ROWS_A_STATEMENT);
        let written = future::try_join_all(parts.map(|order| self.upsert_part(tx, statement, order))).await?;
        Ok(written.iter().sum())
    }

    async fn upsert_part(
        &self,
        tx: &Transaction<'_>,
        statement: &Statement,
        order: &[RowRef],
    ) -> Result<u64, tokio_postgres::Error> {
        let columns = column_arrays(self.table, &self.rows, order);
        let runs = PerPage { values: &self.runs, order };
        let pages = PerPage { values: &self.pages, order };
        let requested_at = PerPage { values: &self.requested_at, order };
        let mut params: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|c| c as &(dyn ToSql + Sync)).collect();
        params.extend([&runs as &(dyn ToSql + Sync), &pages, &requested_at]);
        tx.execute(statement, &params).await
    }

    /// All of it as new rows. A key that is there already is an error.
    pub(crate) async fn copy(
        &self,
        tx: &Transaction<'_>,
        statement: &Statement,
    ) -> Result<u64, tokio_postgres::Error> {
        copy_rows(tx, statement, &self.order, |at, out| self.write_row(at, out)).await
    }

    fn write_row(&self, at: RowRef, out: &mut BytesMut) {
        let (page, row) = (at.page as usize, at.row as usize);
        let columns = self.rows[page].columns();
        out.put_i16(columns.len() as i16 + 3);
        columns.iter().for_each(|column| wire::value(column, row, out));
        self.runs[page].write(out);
        self.pages[page].write(out);
        self.requested_at[page].write(out);
    }
}
