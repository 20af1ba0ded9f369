use serde::{Deserialize, Serialize};

/// How many requests the API permits; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Within any one second, over all connections and accounts.
    pub rate: Option<u32>,
}

impl Limits {
    /// Only so many within any one second.
    pub fn per_second(rate: u32) -> Self {
        Self { rate: Some(rate) }
    }
}
