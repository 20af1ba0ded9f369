//! A queue in memory under the stepper's control: it keeps time by the virtual clock, knows who holds what, and
//! can be cut, reordered, and made to deliver twice.

use std::{
    collections::BTreeMap,
    future::{Future, ready},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use pagemill_core::{ConfigDuration, Lane, PageJob};
use pagemill_queue::{
    Address, BoxFuture, DeadLetter, DeadLetterAction, DeadNote, Deliveries, Delivery, Depth, Message,
    PageQueue, QueueError, QueueErrorKind, Receipt, SweepError,
};

use super::gate::Gate;

/// What happens to the next publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PublishFault {
    /// Nothing arrives.
    Lost,
    /// Half of the messages arrive.
    HalfLost,
    /// All messages arrive, and the confirm is lost.
    ConfirmLost,
    /// All messages arrive twice.
    Duplicated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Lane(Lane),
    /// Back in its lane at this virtual second.
    Retry(Lane, i64),
    Dead,
    /// Delivered over a connection, from a lane.
    Held(u64, Lane),
    /// A job in the producer's own in-process queue, with its connection. It is lost with the process.
    Own(u64),
}

#[derive(Clone, Debug)]
struct Entry {
    id: String,
    body: Vec<u8>,
    note: Option<DeadNote>,
    place: Place,
    redelivered: bool,
}

/// The broker, which outlives all processes.
#[derive(Clone, Debug, Default)]
pub(super) struct Broker(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// In the order of their lanes.
    entries: BTreeMap<u64, Entry>,
    next: u64,
    connections: u64,
    now: i64,
    fault: Option<PublishFault>,
    /// Jobs that were acked, a process's own aside.
    acked: Vec<PageJob>,
    errors: Vec<String>,
}

/// A process's connection to the broker.
#[derive(Clone, Debug)]
pub(super) struct StepQueue {
    broker: Broker,
    source: String,
    retry: Arc<[ConfigDuration]>,
    pub(super) gate: Gate,
    connection: Arc<AtomicU64>,
}

impl Broker {
    /// Moves the clock to a virtual second: messages whose delay is over return to their lanes.
    pub(super) fn set_now(&self, now: i64) {
        let mut state = self.state();
        state.now = now;
        for entry in state.entries.values_mut() {
            if let Place::Retry(lane, due) = entry.place
                && due <= now
            {
                (entry.place, entry.redelivered) = (Place::Lane(lane), false);
            }
        }
    }

    /// The next virtual second at which a message returns from its retry tier.
    pub(super) fn next_due(&self) -> Option<i64> {
        let state = self.state();
        let due = |entry: &Entry| if let Place::Retry(_, due) = entry.place { Some(due) } else { None };
        state.entries.values().filter_map(due).min()
    }

    pub(super) fn arm(&self, fault: PublishFault) {
        self.state().fault = Some(fault);
    }

    pub(super) fn disarm(&self) {
        self.state().fault = None;
    }

    /// Messages that wait in the lanes.
    pub(super) fn ready(&self) -> usize {
        self.state().entries.values().filter(|entry| matches!(entry.place, Place::Lane(_))).count()
    }

    /// The jobs acked since the last call, a process's own aside.
    pub(super) fn take_acked(&self) -> Vec<PageJob> {
        std::mem::take(&mut self.state().acked)
    }

    /// Errors that processes went on after, since the last call.
    pub(super) fn take_errors(&self) -> Vec<String> {
        std::mem::take(&mut self.state().errors)
    }

    /// All page jobs that wait or are held, dead letters aside.
    pub(super) fn jobs(&self) -> Vec<PageJob> {
        let state = self.state();
        let on_their_way = state.entries.values().filter(|entry| entry.place != Place::Dead);
        on_their_way.filter_map(|entry| PageJob::decode(&entry.body).ok()).collect()
    }

    /// Ids of the messages in the dead-letter queue.
    pub(super) fn dead(&self) -> Vec<String> {
        let state = self.state();
        state.entries.values().filter(|e| e.place == Place::Dead).map(|e| e.id.clone()).collect()
    }

    /// Reverses the order of what waits in the lanes.
    pub(super) fn reverse(&self) {
        let mut state = self.state();
        let waiting: Vec<u64> = (state.entries.iter())
            .filter(|(_, entry)| matches!(entry.place, Place::Lane(_)))
            .map(|(at, _)| *at)
            .collect();
        let mut entries: Vec<Entry> = waiting.iter().filter_map(|at| state.entries.remove(at)).collect();
        entries.reverse();
        state.entries.extend(waiting.into_iter().zip(entries));
    }

    /// Doubles the message that waits longest.
    pub(super) fn duplicate(&self) {
        let mut state = self.state();
        let first = state.entries.values().find(|entry| matches!(entry.place, Place::Lane(_))).cloned();
        if let Some(copy) = first {
            state.put(copy);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, entry: Entry) -> u64 {
        self.next += 1;
        self.entries.insert(self.next, entry);
        self.next
    }

    /// Returns a held message to its lane; one of a process's own is gone.
    fn put_back(&mut self, at: u64, connection: u64) {
        let Some(entry) = self.entries.get_mut(&at) else { return };
        match entry.place {
            Place::Held(holder, lane) if holder == connection => {
                (entry.place, entry.redelivered) = (Place::Lane(lane), true);
            }
            Place::Own(holder) if holder == connection => {
                self.entries.remove(&at);
            }
            _ => {}
        }
    }
}

impl StepQueue {
    pub(super) fn new(broker: &Broker, source: &str, retry: &[ConfigDuration]) -> Self {
        let queue = Self {
            broker: broker.clone(),
            source: source.to_owned(),
            retry: retry.into(),
            gate: Gate::default(),
            connection: Arc::default(),
        };
        queue.reconnect();
        queue
    }

    /// Loses the connection, and makes a new one: what was held returns to the lanes.
    pub(super) fn reconnect(&self) {
        let mut state = self.broker.state();
        state.connections += 1;
        let old = self.connection.swap(state.connections, Ordering::Relaxed);
        let held: Vec<u64> = state.entries.keys().copied().collect();
        held.into_iter().for_each(|at| state.put_back(at, old));
    }

    /// Takes the first message of the high lane, else of the low lane.
    pub(super) fn take(&self) -> Option<Delivery> {
        let mut state = self.broker.state();
        let first =
            |lane| state.entries.iter().find(|(_, e)| e.place == Place::Lane(lane)).map(|(at, _)| *at);
        let at = first(Lane::High).or_else(|| first(Lane::Low))?;
        let entry = state.entries.get_mut(&at).expect("just found");
        let Place::Lane(lane) = entry.place else { unreachable!("it waits in a lane") };
        let connection = self.connection.load(Ordering::Relaxed);
        entry.place = Place::Held(connection, lane);
        Some(self.delivery(at, connection, entry, lane))
    }

    /// A delivery of the process's own, which no other process ever sees.
    pub(super) fn own(&self, job: &PageJob) -> Delivery {
        let mut state = self.broker.state();
        let connection = self.connection.load(Ordering::Relaxed);
        let place = Place::Own(connection);
        let entry = Entry { id: job.id(), body: job.encode(), note: None, place, redelivered: false };
        let at = state.put(entry.clone());
        self.delivery(at, connection, &entry, job.lane)
    }

    fn delivery(&self, at: u64, connection: u64, entry: &Entry, lane: Lane) -> Delivery {
        Delivery {
            body: entry.body.clone(),
            source: self.source.clone(),
            lane,
            redelivered: entry.redelivered,
            receipt: Box::new(StepReceipt { broker: self.broker.clone(), at, connection }),
        }
    }

    /// Notes an error after which the process goes on.
    pub(super) fn note_error(&self, error: String) {
        self.broker.state().errors.push(error);
    }

    fn place_of(&self, state: &State, to: &Address) -> Result<Place, QueueError> {
        Ok(match to {
            Address::Lane { lane, .. } => Place::Lane(*lane),
            Address::Dead { .. } => Place::Dead,
            Address::Retry { lane, tier, .. } => {
                let delay = self.retry.get(*tier).expect("a tier of the config").get();
                Place::Retry(*lane, state.now + delay.as_secs() as i64)
            }
        })
    }
}

fn away() -> QueueError {
    QueueError::new(QueueErrorKind::Unreachable, "the stepper has cut the queue")
}

impl PageQueue for StepQueue {
    async fn publish<M>(&self, to: &Address, messages: M) -> Result<(), QueueError>
    where
        M: IntoIterator<Item = Message, IntoIter: Send> + Send,
    {
        let messages: Vec<Message> = messages.into_iter().collect();
        self.gate.pass("publish").await;
        let fault = {
            let mut state = self.broker.state();
            let (fault, place) = (state.fault.take(), self.place_of(&state, to)?);
            let arrive = match fault {
                Some(PublishFault::Lost) => 0,
                Some(PublishFault::HalfLost) => messages.len() / 2,
                Some(PublishFault::ConfirmLost | PublishFault::Duplicated) | None => messages.len(),
            };
            for Message { id, body, note } in messages.into_iter().take(arrive) {
                let entry = Entry { id, body, note, place, redelivered: false };
                if fault == Some(PublishFault::Duplicated) {
                    state.put(entry.clone());
                }
                state.put(entry);
            }
            fault
        };
        self.gate.pass("published").await;
        match fault {
            Some(PublishFault::Lost | PublishFault::HalfLost | PublishFault::ConfirmLost) => Err(away()),
            Some(PublishFault::Duplicated) | None => Ok(()),
        }
    }

    async fn subscribe(&self, _: &str, _: Lane, _: u16) -> Result<Deliveries, QueueError> {
        unreachable!("virtual consumers take their deliveries one by one")
    }

    async fn depth(&self, _: &str) -> Result<Depth, QueueError> {
        let state = self.broker.state();
        let count = |is: fn(&Place) -> bool| state.entries.values().filter(|e| is(&e.place)).count() as u64;
        Ok(Depth {
            pages: count(|place| *place == Place::Lane(Lane::High)),
            low: count(|place| *place == Place::Lane(Lane::Low)),
            retry: count(|place| matches!(place, Place::Retry(..))),
            dead: count(|place| *place == Place::Dead),
            consumers: 1,
        })
    }

    async fn sweep_dead<D, F, E>(&self, _: &str, mut decide: D) -> Result<(), SweepError<E>>
    where
        D: FnMut(Vec<DeadLetter>) -> F + Send,
        F: Future<Output = Result<Vec<DeadLetterAction>, E>> + Send,
        E: std::error::Error + Send + Sync + 'static,
    {
        self.gate.pass("sweep").await;
        let mut letters: BTreeMap<String, (DeadLetter, Vec<u64>)> = BTreeMap::new();
        for (at, entry) in self.broker.state().entries.iter().filter(|(_, e)| e.place == Place::Dead) {
            let Entry { id, body, note, .. } = entry.clone();
            let letter = DeadLetter { id: id.clone(), body, note, broker_reason: None };
            letters.entry(id).or_insert((letter, Vec::new())).1.push(*at);
        }
        let shown: Vec<DeadLetter> = letters.values().map(|(letter, _)| letter.clone()).collect();
        let actions = decide(shown).await.map_err(SweepError::Decide)?;
        self.gate.pass("swept").await;
        let mut state = self.broker.state();
        for ((_, copies), action) in letters.into_values().zip(actions) {
            // What stays keeps one copy.
            let gone = if action == DeadLetterAction::Keep { &copies[1..] } else { &copies[..] };
            gone.iter().for_each(|at| drop(state.entries.remove(at)));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct StepReceipt {
    broker: Broker,
    at: u64,
    connection: u64,
}

impl Receipt for StepReceipt {
    fn ack(self: Box<Self>) -> BoxFuture<'static, Result<(), QueueError>> {
        let mut state = self.broker.state();
        let entry = state.entries.get(&self.at);
        let held = entry.is_some_and(|e| match e.place {
            Place::Held(holder, _) | Place::Own(holder) => holder == self.connection,
            Place::Lane(_) | Place::Retry(..) | Place::Dead => false,
        });
        if !held {
            let stale = QueueError::new(QueueErrorKind::Stale, "the connection of this delivery is gone");
            return Box::pin(ready(Err(stale)));
        }
        let entry = state.entries.remove(&self.at).expect("it is held");
        if !matches!(entry.place, Place::Own(_)) {
            state.acked.extend(PageJob::decode(&entry.body).ok());
        }
        Box::pin(ready(Ok(())))
    }

    fn nack(self: Box<Self>) -> BoxFuture<'static, Result<(), QueueError>> {
        drop(self);
        Box::pin(ready(Ok(())))
    }
}

impl Drop for StepReceipt {
    fn drop(&mut self) {
        self.broker.state().put_back(self.at, self.connection);
    }
}
