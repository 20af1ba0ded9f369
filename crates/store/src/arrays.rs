//! Columns of many pages as one PostgreSQL array each, in a given order of rows: what a batch
//! upserts is written straight from the decoded pages into the wire buffer.

use std::error::Error;

use bytes::BytesMut;
use pagemill_core::{Column, Kind, Rows};
use postgres_protocol::types::{ArrayDimension, array_to_sql};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

type BoxError = Box<dyn Error + Sync + Send>;

/// A row of a batch: which page, which row of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowRef {
    pub(crate) page: u32,
    pub(crate) row: u32,
}

/// One column over the rows of a batch.
#[derive(Debug)]
pub(crate) struct ColumnArray<'a> {
    pub(crate) pages: &'a [&'a Rows],
    pub(crate) order: &'a [RowRef],
    pub(crate) column: usize,
    pub(crate) kind: Kind,
}

/// A value that is the same for all rows of a page, repeated for each of its rows in the batch.
#[derive(Debug)]
pub(crate) struct PerPage<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) order: &'a [RowRef],
}

impl ToSql for ColumnArray<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        let element = element(self.kind);
        debug_assert!(matches!(ty.kind(), tokio_postgres::types::Kind::Array(e) if *e == element));
        write_array(&element, self.order, out, |at, buffer| {
            let row = at.row as usize;
            match &self.pages[at.page as usize].columns()[self.column] {
                Column::Bigint(v) => v[row].to_sql(&element, buffer),
                Column::Numeric(v) => v[row].to_sql(&element, buffer),
                Column::Text(v) => v.get(row).to_sql(&element, buffer),
                Column::Boolean(v) => v[row].to_sql(&element, buffer),
                Column::Date(v) => v[row].to_sql(&element, buffer),
                Column::Timestamptz(v) => v[row].to_sql(&element, buffer),
            }
        })
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), tokio_postgres::types::Kind::Array(_))
    }

    to_sql_checked!();
}

impl<T: ToSql> ToSql for PerPage<'_, T> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        let tokio_postgres::types::Kind::Array(element) = ty.kind() else {
            return Err(format!("{ty} is no array").into());
        };
        write_array(element, self.order, out, |at, buffer| {
            self.values[at.page as usize].to_sql(element, buffer)
        })
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), tokio_postgres::types::Kind::Array(e) if T::accepts(e))
    }

    to_sql_checked!();
}

fn write_array(
    element: &Type,
    order: &[RowRef],
    out: &mut BytesMut,
    mut value: impl FnMut(RowRef, &mut BytesMut) -> Result<IsNull, BoxError>,
) -> Result<IsNull, BoxError> {
    let dimension = ArrayDimension { len: i32::try_from(order.len())?, lower_bound: 1 };
    array_to_sql(
        Some(dimension),
        element.oid(),
        order.iter().copied(),
        |at, buffer| {
            Ok(match value(at, buffer)? {
                IsNull::Yes => postgres_protocol::IsNull::Yes,
                IsNull::No => postgres_protocol::IsNull::No,
            })
        },
        out,
    )?;
    Ok(IsNull::No)
}

fn element(kind: Kind) -> Type {
    match kind {
        Kind::Bigint => Type::INT8,
        Kind::Numeric => Type::NUMERIC,
        Kind::Text => Type::TEXT,
        Kind::Boolean => Type::BOOL,
        Kind::Date => Type::DATE,
        Kind::Timestamptz => Type::TIMESTAMPTZ,
    }
}
