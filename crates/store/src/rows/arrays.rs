//! Columns of many pages as one PostgreSQL array each, in a given order of rows: what a batch
//! upserts is written straight from the decoded pages into the wire buffer.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use pagemill_core::{Kind, Rows};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::wire::{self, Element};
use crate::table::DataTable;

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

/// An array for each column of the table, over these rows.
pub(crate) fn column_arrays<'a>(
    table: &DataTable,
    pages: &'a [&'a Rows],
    order: &'a [RowRef],
) -> Vec<ColumnArray<'a>> {
    let columns = table.shape.columns.iter().enumerate();
    columns.map(|(column, shape)| ColumnArray { pages, order, column, kind: shape.kind }).collect()
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
        let column = |at: &RowRef| &self.pages[at.page as usize].columns()[self.column];
        let nulls = self.order.iter().any(|at| column(at).is_null(at.row as usize));
        begin_array(&element, self.order.len(), nulls, out)?;
        self.order.iter().for_each(|at| wire::value(column(at), at.row as usize, out));
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), tokio_postgres::types::Kind::Array(_))
    }

    to_sql_checked!();
}

impl<T: Element + ToSql> ToSql for PerPage<'_, T> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        let tokio_postgres::types::Kind::Array(element) = ty.kind() else {
            return Err(format!("{ty} is no array").into());
        };
        begin_array(element, self.order.len(), false, out)?;
        self.order.iter().for_each(|at| self.values[at.page as usize].write(out));
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), tokio_postgres::types::Kind::Array(e) if T::accepts(e))
    }

    to_sql_checked!();
}

/// One dimension, from 1.
fn begin_array(element: &Type, len: usize, nulls: bool, out: &mut BytesMut) -> Result<(), BoxError> {
    out.put_i32(1);
    out.put_i32(nulls.into());
    out.put_u32(element.oid());
    out.put_i32(i32::try_from(len)?);
    out.put_i32(1);
    out.reserve(12 * len);
    Ok(())
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
