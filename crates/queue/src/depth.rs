/// Counts of the messages that wait in a source's queues. What is delivered and not yet settled is not
/// counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Ready in the lane that goes first.
    pub pages: u64,
    /// Ready in the low lane.
    pub low: u64,
    /// Waiting in the retry tiers, all together.
    pub retry: u64,
    /// Dead letters.
    pub dead: u64,
    /// Subscriptions to the two lanes, of all processes.
    pub consumers: u64,
}
