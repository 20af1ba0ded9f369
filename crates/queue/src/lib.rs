//! Pagemill's page queue: one contract, [`PageQueue`], over RabbitMQ ([`Rabbit`]) and in process
//! ([`InProcess`]).
//!
//! The queues of each source on the broker (`rabbit/topology.rs` declares them and says why):
//!
//! ```text
//! exchange pagemill (direct) ──┬─> pagemill.<source>.pages        the newest day
//!                              ├─> pagemill.<source>.pages.low    backfill, lookback
//!                              └─> pagemill.<source>.dead         given up: by us, or by the delivery limit
//! exchange pagemill.<source>.retry.<delay> (fanout) ─> the queue of the same name, which after its
//!                              delay hands the message to `pagemill` under the key it came with: its lane
//! ```
//!
//! The promises, held by both and tested by the same tests:
//!
//! - A publish is done when every message was accepted **and** routed.
//! - Delivery is at least once. What was not acked comes again, marked as redelivered.
//! - A subscription survives every fault of the broker and ends only when it is closed.
//! - No subscription holds more unsettled deliveries than its prefetch.
//! - Dead letters leave their queue only by [`PageQueue::sweep_dead`], which publishes before it
//!   acks: a death midway makes copies, never losses.
#![forbid(unsafe_code)]

mod dead_letter;
mod delivery;
mod depth;
mod error;
mod in_process;
mod message;
mod page_queue;
mod rabbit;

pub use dead_letter::{DeadLetter, DeadLetterAction, SweepError};
pub use delivery::{BoxFuture, Deliveries, Delivery, Receipt};
pub use depth::Depth;
pub use error::{QueueError, QueueErrorKind};
pub use in_process::InProcess;
pub use message::{Address, DeadNote, Message};
pub use page_queue::PageQueue;
pub use rabbit::{Rabbit, RabbitConfig};
