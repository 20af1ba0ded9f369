//! A partition too deep for the API's pages is split into parts, which are partitions themselves.

use pagemill_core::Slice;
use serde_json::json;

use super::Partitions;
use super::row::{PARTITION_COLUMNS, PartitionRow, lane_name};
use crate::error::StoreError;

impl Partitions {
    /// Splits an open partition into parts, once; none says that it cannot be split. Returns its
    /// parts that are open.
    pub async fn split(&self, partition: i64, parts: &[Slice]) -> Result<Vec<PartitionRow>, StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        let sql = format!(
            "update pagemill.partitions p set parts = $2, progressed_at = now() \
             where p.id = $1 and p.state = 'open' and p.parts is null returning {PARTITION_COLUMNS}"
        );
        if let Some(row) = tx.query_opt(&sql, &[&partition, &(parts.len() as i32)]).await? {
            let whole = PartitionRow::from_row(&row);
            for slice in parts {
                tx.execute(
                    "insert into pagemill.partitions (run, source, stream, account, from_date, to_date, part, lane, page_size, date_scope, row_account, write_mode, reload_of, parent, root) \
                     select $1, $2, $3, $4, $5, $6, $7, $8, $9, p.date_scope, p.row_account, p.write_mode, null, p.id, coalesce(p.root, p.id) from pagemill.partitions p where p.id = $10",
                    &[
                        &whole.run,
                        &slice.source,
                        &slice.stream,
                        &slice.account,
                        &slice.from,
                        &slice.to,
                        &json!(slice.part),
                        &lane_name(whole.lane),
                        &(whole.page_size as i32),
                        &whole.id,
                    ],
                )
                .await?;
            }
        }
        let sql = format!(
            "select {PARTITION_COLUMNS} from pagemill.partitions p where p.parent = $1 and p.state = 'open' order by p.id"
        );
        let open = tx.query(&sql, &[&partition]).await?.iter().map(PartitionRow::from_row).collect();
        tx.commit().await?;
        Ok(open)
    }
}
