use pagemill_core::{Column, Kind, Rows};
use tokio_postgres::Row;

/// Rows of the database as the decoder makes them, columns of these types.
pub(crate) fn read_rows(rows: &[Row], kinds: impl Iterator<Item = Kind>) -> Rows {
    let columns = kinds.enumerate().map(|(i, kind)| {
        let mut column = Column::with_capacity(kind, rows.len());
        // By position: the columns are those of a stream's definition.
        for row in rows {
            match &mut column {
                Column::Bigint(v) => v.push(row.get(i)),
                Column::Numeric(v) => v.push(row.get(i)),
                Column::Text(v) => v.push(row.get(i)),
                Column::Boolean(v) => v.push(row.get(i)),
                Column::Date(v) => v.push(row.get(i)),
                Column::Timestamptz(v) => v.push(row.get(i)),
            }
        }
        column
    });
    Rows::new(rows.len(), columns.collect())
}
