//! Pages that follow one another: each names where the next begins.

use super::Pages;
use crate::error::StoreError;

/// What follows a done page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Following {
    /// The next page, not done yet, begins here.
    Page {
        /// The next page's cursor or link.
        cursor: String,
        /// The next page's generation.
        generation: u32,
    },
    /// Nothing is to be done: it is the last, the next is done or dead, or it isn't done itself.
    Nothing,
    /// The next page is one that came before: the chain ends here.
    CursorLoop,
}

impl Pages {
    /// What follows a page of a chain. A next page that came before ends the chain in the ledger.
    pub async fn following(&self, partition: i64, page: u32) -> Result<Following, StoreError> {
        let client = self.database.client().await?;
        let statement = client
            .prepare_cached(
                "select g.next, coalesce(n.generation, 0) as generation, coalesce(n.state in ('done', 'dead'), false) as ended, \
                        exists (select from pagemill.pages e where e.partition = g.partition and e.next_hash = g.next_hash and e.page < g.page) as repeated \
                 from pagemill.pages g left join pagemill.pages n on n.partition = g.partition and n.page = g.page + 1 \
                 where g.partition = $1 and g.page = $2 and g.state = 'done' and g.next is not null",
            )
            .await?;
        let Some(row) = client.query_opt(&statement, &[&partition, &(page as i32)]).await? else {
            return Ok(Following::Nothing);
        };
        if row.get("repeated") {
            client
                .execute(
                    "update pagemill.partitions set end_page = $2 where id = $1 and state = 'open'",
                    &[&partition, &(page as i32)],
                )
                .await?;
            return Ok(Following::CursorLoop);
        }
        if row.get("ended") {
            return Ok(Following::Nothing);
        }
        Ok(Following::Page { cursor: row.get("next"), generation: row.get::<_, i32>("generation") as u32 })
    }
}
