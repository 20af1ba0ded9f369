//! Reconciles dead-letter queues with the ledger: the ledger decides which letters wait for an operator.

use pagemill_core::{Failure, PageJob};
use pagemill_queue::{Address, DeadLetter, DeadLetterAction, DeadNote, Message, PageQueue, SweepError};
use pagemill_store::{DeadRecord, Store, StoreError, StoreErrorKind};

use crate::{app::App, error::ServiceError};

/// Reconciles each source's dead-letter queue with the ledger. A letter that its process recorded and did not
/// live to publish is published. Where the counts differ, what the broker dead-lettered by itself is recorded.
///
/// # Errors
/// PostgreSQL or the queue being away.
pub async fn reconcile_sources<Q: PageQueue>(app: &App, queue: &Q) -> Result<(), ServiceError> {
    for source in app.sources.iter() {
        let letters = &app.store.dead_letters;
        for (id, body, record) in letters.unconfirmed(source.name(), app.settings.stalled_after.get()).await?
        {
            let message = Message { id, body, note: None };
            publish_letter(&app.store, queue, source.name(), message, &record).await?;
        }
        if queue.depth(source.name()).await?.dead != letters.count(source.name()).await? {
            reconcile_source(&app.store, queue, source.name()).await?;
        }
    }
    Ok(())
}

/// Publishes a recorded letter to the dead-letter queue, and notes that the queue has it. A copy does no harm: copies
/// are recognized by their id.
///
/// # Errors
/// PostgreSQL or the queue being away.
pub(crate) async fn publish_letter<Q: PageQueue>(
    store: &Store,
    queue: &Q,
    source: &str,
    mut message: Message,
    record: &DeadRecord,
) -> Result<(), ServiceError> {
    let id = message.id.clone();
    message.note = Some(DeadNote {
        error: record.error.clone(),
        fingerprint: record.fingerprint.clone(),
        attempts: record.attempts,
        first_failed_at: record.first_failed_at.clone(),
        last_failed_at: record.last_failed_at.clone(),
    });
    queue.publish(&Address::Dead { source: source.to_owned() }, [message]).await?;
    Ok(store.dead_letters.confirm(&id).await?)
}

/// One pass over a source's dead-letter queue: letters that no longer wait for an operator leave
/// it, those that the ledger does not know are recorded.
///
/// # Errors
/// PostgreSQL or the queue being away.
pub async fn reconcile_source<Q: PageQueue>(
    store: &Store,
    queue: &Q,
    source: &str,
) -> Result<(), ServiceError> {
    let decide = |letters: Vec<DeadLetter>| {
        let (store, source) = (store.clone(), source.to_owned());
        async move {
            let ids: Vec<String> = letters.iter().map(|l| l.id.clone()).collect();
            let known = store.dead_letters.known(&ids).await?;
            let mut actions = Vec::with_capacity(letters.len());
            for letter in &letters {
                actions.push(match known.get(&letter.id) {
                    Some(true) => DeadLetterAction::Keep,
                    Some(false) => DeadLetterAction::Drop,
                    None => record(&store, &source, letter).await?,
                });
            }
            Ok::<_, StoreError>(actions)
        }
    };
    queue.sweep_dead(source, decide).await.map_err(|error| match error {
        SweepError::Queue(error) => error.into(),
        SweepError::Decide(error) => error.into(),
    })
}

/// False for a partition of another ledger: its job is kept.
async fn known_partition(store: &Store, partition: i64) -> Result<bool, StoreError> {
    match store.partitions.get(partition).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == StoreErrorKind::Invalid => Ok(false),
        Err(error) => Err(error),
    }
}

/// A letter that the broker put there, or that lost its record.
async fn record(store: &Store, source: &str, letter: &DeadLetter) -> Result<DeadLetterAction, StoreError> {
    let reason = letter.broker_reason.as_deref().unwrap_or("unknown");
    let error = format!("the broker dead-lettered this message (reason: {reason})");
    tracing::warn!(source, message = %letter.id, %error, "recorded a dead letter");
    let job = PageJob::decode(&letter.body).ok();
    let job = match job {
        Some(job) => known_partition(store, job.partition).await?.then_some(job),
        None => None,
    };
    let Some(job) = job else {
        store.dead_letters.record_message(source, &letter.id, &letter.body, &error).await?;
        store.dead_letters.confirm(&letter.id).await?;
        return Ok(DeadLetterAction::Keep);
    };
    match store.dead_letters.record(&job, &Failure::permanent(error)).await? {
        Some(record) => {
            store.dead_letters.confirm(&letter.id).await?;
            if record.progress.is_some_and(|p| p.has_ended()) {
                // A dead page makes it incomplete, whatever the stream's rules are.
                store.seals.prove(job.partition, None, 0).await?;
            }
            Ok(DeadLetterAction::Keep)
        }
        // Done meanwhile, of an older generation, or of a partition that is closed.
        None => Ok(DeadLetterAction::Drop),
    }
}
