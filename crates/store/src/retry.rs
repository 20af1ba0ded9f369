use std::{future::Future, time::Duration};

use backon::{ExponentialBuilder, Retryable};

use crate::{error::StoreError, error::StoreErrorKind};

/// Runs a transaction again while another is in its way: a deadlock, a lock that was not had in time.
pub(crate) async fn with_retry<T, F>(transaction: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_times(5)
        .with_jitter();
    transaction.retry(backoff).when(|e| e.kind() == StoreErrorKind::Retriable).await
}
