//! Pages whose rows stand in the table already: of a day that did not change nothing but the ledger is
//! written.

use deadpool_postgres::Object;
use pagemill_core::Rows;
use tokio_postgres::types::ToSql;

use crate::{
    DataTable, PageWrite, Store, StoreError,
    arrays::{ColumnArray, PerPage, RowRef},
    past::Past,
};

/// What a batch finds in the table.
pub(crate) struct Found {
    /// For each page, whether its rows are there as they are.
    pub(crate) pages: Vec<bool>,
    /// What every transaction before which had ended when that was looked at; `None` if nothing was.
    pub(crate) horizon: Option<String>,
}

impl Store {
    /// Whether the table has pages' rows as they are: the slice's last sealed attempt stored a page of this
    /// number and content, and none of its rows was written since, by whomever. One look into the primary
    /// key a row, and its values need not travel.
    ///
    /// # Errors
    /// As any query.
    pub(crate) async fn standing(
        &self,
        client: &Object,
        table: &DataTable,
        pages: &[PageWrite],
    ) -> Result<Found, StoreError> {
        let mut standing = Found { pages: vec![false; pages.len()], horizon: None };
        let (mut numbers, mut before, mut page_numbers, mut hashes) = (vec![], vec![], vec![], vec![]);
        let mut rows: Vec<&Rows> = Vec::new();
        for (number, page) in (0..).zip(pages) {
            if let Past::Sealed(sealed) = self.pasts.of(page.job.partition) {
                numbers.push(number);
                before.push(sealed);
                page_numbers.push(page.job.page as i32);
                hashes.push(page.content_hash);
                rows.push(&page.rows);
            }
        }
        if rows.is_empty() {
            return Ok(standing);
        }
        let order: Vec<RowRef> = (0..)
            .zip(&rows)
            .flat_map(|(page, rows)| (0..rows.len() as u32).map(move |row| RowRef { page, row }))
            .collect();
        let key = |&column: &usize| ColumnArray {
            pages: &rows,
            order: &order,
            column,
            kind: table.shape.columns[column].kind,
        };
        let keys: Vec<ColumnArray<'_>> = table.key.iter().map(key).collect();
        let of_page = PerPage { values: &numbers, order: &order };
        let mut params: Vec<&(dyn ToSql + Sync)> =
            vec![&numbers, &before, &page_numbers, &hashes, &table.meaning, &of_page];
        params.extend(keys.iter().map(|key| key as &(dyn ToSql + Sync)));
        let statement = client.prepare_cached(&table.standing).await?;
        for row in client.query(&statement, &params).await? {
            standing.pages[row.get::<_, i32>(0) as usize] = true;
            standing.horizon = Some(row.get(1));
        }
        Ok(standing)
    }
}
