use serde::{Deserialize, Serialize};

/// How many requests the API permits; `None` is unlimited, and 0 permits none. Those per second and per
/// minute hold for any such time, wherever it begins; a day begins at midnight in Shanghai. A limit
/// counts what was admitted while it was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Per second, over all accounts and reports.
    pub rate: Option<u32>,
    /// Per minute, over all accounts and reports.
    pub rate_per_minute: Option<u32>,
    /// Per day, over all accounts and reports.
    pub rate_per_day: Option<u32>,
    /// Per second, of each account.
    pub account_rate: Option<u32>,
    /// Per day, of each account.
    pub account_rate_per_day: Option<u32>,
    /// Per second, of each platform's report on each level, over all accounts.
    pub stream_rate: Option<u32>,
}

impl Limits {
    /// Only so many within any one second.
    pub fn per_second(rate: u32) -> Self {
        Self { rate: Some(rate), ..Self::default() }
    }

    /// Those of the app, which every request falls under.
    pub(crate) fn app(&self) -> Caps {
        Caps([self.rate, self.rate_per_minute, self.rate_per_day])
    }

    pub(crate) fn account(&self) -> Caps {
        Caps([self.account_rate, None, self.account_rate_per_day])
    }

    pub(crate) fn stream(&self) -> Caps {
        Caps([self.stream_rate, None, None])
    }
}

/// Limits of one scope: per second, per minute, per day.
#[derive(Clone, Copy)]
pub(crate) struct Caps(pub(crate) [Option<u32>; 3]);

impl Caps {
    pub(crate) fn any(self) -> bool {
        self.0.iter().any(Option::is_some)
    }
}

/// The scope of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    App,
    Account,
    Stream,
}
