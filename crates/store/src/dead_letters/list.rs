use serde::Serialize;
use tokio_postgres::types::ToSql;

use super::{DeadLetters, RFC3339};
use crate::error::StoreError;

/// A dead letter as it is listed.
#[derive(Clone, Debug, Serialize)]
pub struct DeadRow {
    /// Id in `pagemill.dead_letters`.
    pub id: i64,
    /// Source.
    pub source: String,
    /// Stream, unless the message could not be decoded.
    pub stream: Option<String>,
    /// Account.
    pub account: Option<String>,
    /// Page.
    pub page: Option<i32>,
    /// Partition.
    pub partition: Option<i64>,
    /// Failed attempts.
    pub attempts: i32,
    /// The last error.
    pub error: String,
    /// Groups errors that differ only in numbers.
    pub fingerprint: String,
    /// First failure, RFC 3339.
    pub first_failed_at: String,
    /// Last failure, RFC 3339.
    pub last_failed_at: String,
    /// The message itself.
    #[serde(skip)]
    pub message: Vec<u8>,
}

/// Dead letters that share a kind of error.
#[derive(Clone, Debug, Serialize)]
pub struct DeadGroup {
    /// The kind of error.
    pub fingerprint: String,
    /// Dead letters in the group.
    pub count: i64,
    /// Source.
    pub source: String,
    /// Stream.
    pub stream: Option<String>,
    /// One of the errors.
    pub error: String,
    /// Last failure, RFC 3339.
    pub last_failed_at: String,
}

/// Which dead letters are meant; all conditions hold together, an empty one means all.
#[derive(Clone, Debug, Default)]
pub struct DeadFilter {
    /// These ids.
    pub ids: Option<Vec<i64>>,
    /// The stream.
    pub stream: Option<String>,
    /// Text that the error contains.
    pub error: Option<String>,
}

impl DeadLetters {
    /// The dead letters that wait for an operator, oldest first.
    pub async fn list(&self, filter: &DeadFilter) -> Result<Vec<DeadRow>, StoreError> {
        let client = self.database.client().await?;
        let rows = client
            .query(
                &format!(
                    "select id, source, stream, account, page, partition, attempts, error, fingerprint, \
                            to_char(first_failed_at, {RFC3339}) as first_failed, to_char(last_failed_at, {RFC3339}) as last_failed, message \
                     from pagemill.dead_letters where {WAITS_FOR_OPERATOR} and {FILTER} order by id"
                ),
                &filter.params(),
            )
            .await?;
        Ok(rows
            .iter()
            .map(|r| DeadRow {
                id: r.get("id"),
                source: r.get("source"),
                stream: r.get("stream"),
                account: r.get("account"),
                page: r.get("page"),
                partition: r.get("partition"),
                attempts: r.get("attempts"),
                error: r.get("error"),
                fingerprint: r.get("fingerprint"),
                first_failed_at: r.get("first_failed"),
                last_failed_at: r.get("last_failed"),
                message: r.get("message"),
            })
            .collect())
    }

    /// Dead letters counted by kind of error, most first.
    pub async fn groups(&self) -> Result<Vec<DeadGroup>, StoreError> {
        let client = self.database.client().await?;
        let rows = client
            .query(
                &format!(
                    "select fingerprint, count(*) as count, source, stream, max(error) as error, to_char(max(last_failed_at), {RFC3339}) as last_failed \
                     from pagemill.dead_letters where {WAITS_FOR_OPERATOR} group by fingerprint, source, stream order by count(*) desc, fingerprint"
                ),
                &[],
            )
            .await?;
        Ok(rows
            .iter()
            .map(|r| DeadGroup {
                fingerprint: r.get("fingerprint"),
                count: r.get("count"),
                source: r.get("source"),
                stream: r.get("stream"),
                error: r.get("error"),
                last_failed_at: r.get("last_failed"),
            })
            .collect())
    }
}

/// Waits for an operator; a requeue that died before its publish leaves its letters among them.
pub(super) const WAITS_FOR_OPERATOR: &str = "dropped_at is null and published_at is null";

/// `$1` ids, `$2` stream, `$3` text in the error.
pub(super) const FILTER: &str = "($1::bigint[] is null or id = any($1)) and ($2::text is null or stream = $2) \
    and ($3::text is null or strpos(error, $3) > 0)";

impl DeadFilter {
    pub(super) fn params(&self) -> [&(dyn ToSql + Sync); 3] {
        [&self.ids, &self.stream, &self.error]
    }
}
