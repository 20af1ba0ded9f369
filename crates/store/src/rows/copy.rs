//! COPY in PostgreSQL's binary format.

use std::pin::pin;

use bytes::{BufMut, BytesMut};
use deadpool_postgres::Transaction;
use futures_util::SinkExt;
use tokio_postgres::Statement;

use super::RowRef;

/// Rows are copied in messages of this size.
const COPY_BYTES: usize = 32 << 10;

/// What a COPY in binary begins with: no flags, no extension.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Copies rows in this order; `write_row` writes one, the number of its columns first.
pub(super) async fn copy_rows(
    tx: &Transaction<'_>,
    statement: &Statement,
    order: &[RowRef],
    write_row: impl Fn(RowRef, &mut BytesMut),
) -> Result<u64, tokio_postgres::Error> {
    if order.is_empty() {
        return Ok(0);
    }
    let mut sink = pin!(tx.copy_in(statement).await?);
    let mut buffer = BytesMut::with_capacity(COPY_BYTES + COPY_BYTES / 8);
    buffer.put_slice(COPY_HEADER);
    for at in order {
        write_row(*at, &mut buffer);
        if buffer.len() >= COPY_BYTES {
            let full = buffer.split().freeze();
            buffer.reserve(COPY_BYTES + COPY_BYTES / 8);
            sink.send(full).await?;
        }
    }
    buffer.put_i16(-1);
    sink.send(buffer.freeze()).await?;
    sink.finish().await
}
