use std::collections::HashSet;

use bytes::{BufMut, BytesMut};
use deadpool_postgres::Transaction;
use futures_util::future;
use pagemill_core::Rows;
use tokio_postgres::{Statement, types::ToSql};

use super::{PerPage, ROWS_A_STATEMENT, RowRef, column_arrays, copy::copy_rows, wire, wire::Element};
use crate::{page_write::PageWrite, table::DataTable};

/// Rows that wait beside the table until their attempt is proved: those that are not known to be in the table as they are.
pub(crate) struct StagedRows<'a> {
    table: &'a DataTable,
    rows: Vec<&'a Rows>,
    order: Vec<RowRef>,
    partitions: Vec<i64>,
    pages: Vec<i32>,
}

impl<'a> StagedRows<'a> {
    /// The rows of these pages. `unchanged` has the hashes of rows that are in the table as they are, page by page.
    pub(crate) fn new(
        table: &'a DataTable,
        batch: &[&'a PageWrite],
        unchanged: impl Fn(&PageWrite) -> HashSet<i64>,
    ) -> Self {
        let mut order = Vec::new();
        for (page, write) in (0u32..).zip(batch) {
            let unchanged = unchanged(write);
            let differing = (0u32..).zip(&write.row_hashes).filter(|(_, hash)| !unchanged.contains(hash));
            order.extend(differing.map(|(row, _)| RowRef { page, row }));
        }
        Self {
            table,
            rows: batch.iter().map(|write| &write.rows).collect(),
            order,
            partitions: batch.iter().map(|write| write.job.partition).collect(),
            pages: batch.iter().map(|write| write.job.page as i32).collect(),
        }
    }

    /// Deletes what the pages have staged before.
    pub(crate) async fn unstage(
        &self,
        tx: &Transaction<'_>,
        statement: &Statement,
    ) -> Result<(), tokio_postgres::Error> {
        tx.execute(statement, &[&self.partitions, &self.pages]).await.map(drop)
    }

    pub(crate) async fn copy(
        &self,
        tx: &Transaction<'_>,
        statement: &Statement,
    ) -> Result<u64, tokio_postgres::Error> {
        copy_rows(tx, statement, &self.order, |at, out| self.write_row(at, out)).await
    }

    /// As [`StagedRows::copy`], for a database that cannot COPY.
    pub(crate) async fn insert(
        &self,
        tx: &Transaction<'_>,
        statement: &Statement,
    ) -> Result<u64, tokio_postgres::Error> {
        let parts = self.order.chunks(ROWS_A_STATEMENT);
        let written = future::try_join_all(parts.map(|order| self.insert_part(tx, statement, order))).await?;
        Ok(written.iter().sum())
    }

    async fn insert_part(
        &self,
        tx: &Transaction<'_>,
        statement: &Statement,
        order: &[RowRef],
    ) -> Result<u64, tokio_postgres::Error> {
        let columns = column_arrays(self.table, &self.rows, order);
        let partitions = PerPage { values: &self.partitions, order };
        let pages = PerPage { values: &self.pages, order };
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&partitions, &pages];
        params.extend(columns.iter().map(|c| c as &(dyn ToSql + Sync)));
        tx.execute(statement, &params).await
    }

    fn write_row(&self, at: RowRef, out: &mut BytesMut) {
        let (page, row) = (at.page as usize, at.row as usize);
        let columns = self.rows[page].columns();
        out.put_i16(columns.len() as i16 + 2);
        self.partitions[page].write(out);
        self.pages[page].write(out);
        columns.iter().for_each(|column| wire::value(column, row, out));
    }
}
