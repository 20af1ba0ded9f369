use tokio_postgres::{SimpleQueryMessage, error::SqlState};

use crate::{error::StoreError, error::StoreErrorKind, identifier::quote, store::Store};

/// Column names, and the rows' values as text.
pub type TextRows = (Vec<String>, Vec<Vec<Option<String>>>);

impl Store {
    /// Runs an operator's statement in a read-only transaction; the data tables and the ledger are
    /// in its search path.
    ///
    /// # Errors
    /// [`StoreErrorKind::Permanent`] for a statement that writes.
    pub async fn query(&self, sql: &str) -> Result<TextRows, StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.build_transaction().read_only(true).start().await?;
        tx.batch_execute(&format!(
            "set local statement_timeout = 0; set local search_path = {}, pagemill, pg_catalog",
            quote(self.schema())
        ))
        .await?;
        let mut columns = Vec::new();
        let mut rows = Vec::new();
        for message in tx.simple_query(sql).await.map_err(of_statement)? {
            match message {
                SimpleQueryMessage::RowDescription(description) => {
                    columns = description.iter().map(|c| c.name().to_owned()).collect();
                    rows.clear();
                }
                SimpleQueryMessage::Row(row) => {
                    // By position: the columns are those of an operator's statement.
                    rows.push((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect())
                }
                _ => {}
            }
        }
        tx.rollback().await?;
        Ok((columns, rows))
    }
}

/// Here it is not the server that reads only.
fn of_statement(error: tokio_postgres::Error) -> StoreError {
    let writes = error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION);
    let error = StoreError::from(error);
    if writes { StoreError::new(StoreErrorKind::Permanent, error.to_string()) } else { error }
}
