//! What a source permits.

use reqwest::header::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::error::Wrong;

/// What a source or a stream permits, over all replicas. A window that isn't named isn't limited.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests a second; below 1 it is one request in so many seconds.
    pub per_second: Option<f64>,
    /// Requests in any 60 seconds.
    pub per_minute: Option<u32>,
    /// Requests a day, in the source's zone.
    pub per_day: Option<u32>,
    /// So many may come at once; 1 if left out: evenly spaced.
    pub burst: Option<u32>,
    /// What each account by itself is permitted, beside.
    pub account: Option<Windows>,
    /// The header of a response that says how many further requests are permitted.
    pub remaining_header: Option<String>,
    /// The header that says after how many seconds that begins anew.
    pub reset_header: Option<String>,
}

/// Windows of one quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Windows {
    /// Requests a second; below 1 it is one request in so many seconds.
    pub per_second: Option<f64>,
    /// Requests in any 60 seconds.
    pub per_minute: Option<u32>,
    /// Requests a day, in the source's zone.
    pub per_day: Option<u32>,
    /// So many may come at once; 1 if left out.
    pub burst: Option<u32>,
}

/// Headers in which responses tell what is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BudgetHeaders {
    pub(crate) remaining: HeaderName,
    pub(crate) reset: Option<HeaderName>,
}

impl Rate {
    /// The source's or stream's own windows.
    pub fn windows(&self) -> Windows {
        let Self { per_second, per_minute, per_day, burst, .. } = *self;
        Windows { per_second, per_minute, per_day, burst }
    }

    /// Requests a second that keep within the windows for as long as one likes, days apart; `None`
    /// without a limit.
    pub fn sustained(&self) -> Option<f64> {
        self.windows().sustained()
    }

    /// Requests a second at which so many pass, the wait for new days included where they are more than
    /// one permits; `None` without a limit.
    pub fn average(&self, requests: u64) -> Option<f64> {
        let day = self.per_day.filter(|most| requests > u64::from(*most)).map(|n| f64::from(n) / 86_400.0);
        [self.sustained(), day].into_iter().flatten().reduce(f64::min)
    }

    pub(super) fn check(&self) -> Result<(), Wrong> {
        self.windows().check()?;
        self.account.unwrap_or_default().check().map_err(|e| e.within(&["account"]))?;
        self.budget_headers()?;
        Ok(())
    }

    pub(super) fn budget_headers(&self) -> Result<Option<BudgetHeaders>, Wrong> {
        let header = |key: &str, name: &Option<String>| {
            let parsed = name.as_ref().map(|name| name.parse::<HeaderName>());
            parsed.transpose().map_err(|_| Wrong::at([key], "this can name no header"))
        };
        let remaining = header("remaining_header", &self.remaining_header)?;
        let reset = header("reset_header", &self.reset_header)?;
        match (remaining, reset) {
            (None, Some(_)) => Err(Wrong::at(["reset_header"], "it says nothing without remaining_header")),
            (remaining, reset) => Ok(remaining.map(|remaining| BudgetHeaders { remaining, reset })),
        }
    }
}

impl Windows {
    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        self.per_second.is_none() && self.per_minute.is_none() && self.per_day.is_none()
    }

    /// Requests a second that keep within the windows for as long as one likes, days apart.
    pub fn sustained(&self) -> Option<f64> {
        let minute = self.per_minute.map(|n| f64::from(n) / 60.0);
        [self.per_second, minute].into_iter().flatten().reduce(f64::min)
    }

    fn check(&self) -> Result<(), Wrong> {
        if self.per_second.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            return Err(Wrong::at(["per_second"], "a rate is above 0"));
        }
        for (key, rate) in [("per_minute", self.per_minute), ("per_day", self.per_day), ("burst", self.burst)]
        {
            if rate == Some(0) {
                return Err(Wrong::at([key], "a rate is above 0"));
            }
        }
        Ok(())
    }
}
