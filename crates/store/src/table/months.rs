//! Data tables that are partitioned by month: `partition_by = "month"`.

use std::collections::BTreeSet;

use jiff::{ToSpan, civil::Date};
use pagemill_core::{DateScope, Slice};
use tokio_postgres::Transaction;

use super::DataTable;
use crate::{database::Database, error::StoreError, error::StoreErrorKind, identifier::quote};

impl DataTable {
    /// The column whose months the table is partitioned by; `None` if it isn't.
    fn month_column(&self) -> Option<&str> {
        match &self.shape.dates {
            _ if !self.rules.monthly => None,
            DateScope::Within(column) | DateScope::Exact { from: column, .. } => Some(column),
            DateScope::Whole => None,
        }
    }

    /// What ends `create table`. What lies in no month that was opened goes to the default partition.
    pub(crate) fn partition_sql(&self) -> String {
        let Some(column) = self.month_column() else { return String::new() };
        let rest = format!("{}.{}", quote(&self.schema), quote(&format!("{}_default", self.shape.name)));
        format!(
            " partition by range ({}); create table {rest} partition of {} default",
            quote(column),
            self.name
        )
    }

    /// A table that is there already stays as it is: it cannot become a partitioned one.
    pub(crate) async fn check_partitioned(&self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        let Some(column) = self.month_column() else { return Ok(()) };
        let sql = "select coalesce((select p.partstrat = 'r' and a.attname = $3 from pg_partitioned_table p \
                       join pg_class c on c.oid = p.partrelid join pg_namespace n on n.oid = c.relnamespace \
                       join pg_attribute a on a.attrelid = c.oid and a.attnum = p.partattrs[0] \
                       where n.nspname = $1 and c.relname = $2), false) as is_monthly";
        if tx.query_one(sql, &[&self.schema, &self.shape.name, &column]).await?.get("is_monthly") {
            return Ok(());
        }
        let what = format!(
            "table {} exists and is not partitioned by the months of {}, as partition_by = \"month\" of {}.{} says. \
             Take partition_by out, or rename the table, migrate, and fill the new one: `pagemill reload`, or insert \
             into it what the old one has",
            self.name,
            quote(column),
            self.source,
            self.stream
        );
        Err(StoreError::new(StoreErrorKind::Schema, what))
    }
}

/// Opens the months of these slices in their streams' tables, where those are partitioned and
/// the month is not there yet.
pub(crate) async fn open_months<'a>(
    database: &Database,
    slices: impl IntoIterator<Item = &'a Slice>,
) -> Result<(), StoreError> {
    let months: BTreeSet<(&str, &str, Date)> = slices
        .into_iter()
        .flat_map(|slice| {
            let months = slice.from.first_of_month().series(1.month()).take_while(|m| *m <= slice.to);
            months.map(|month| (slice.source.as_str(), slice.stream.as_str(), month))
        })
        .collect();
    let client = database.client().await?;
    let statement = client.prepare_cached("select pagemill.open_table_month($1, $2, $3)").await?;
    for (source, stream, month) in months {
        client.query_one(&statement, &[&source, &stream, &month]).await?;
    }
    Ok(())
}
