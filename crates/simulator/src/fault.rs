use std::{fmt, str::FromStr};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// HTTP 500 with a system error.
    Error500,
    /// The throttled response, though the rate was kept.
    Throttle,
    /// The connection is reset in the middle of the response.
    Reset,
    /// An ok response that takes [`crate::SimulatorConfig::slow_for`] longer.
    Slow,
    /// The response to an expired token.
    Token,
    /// The given page fails like `error_500`, every time.
    FailPage,
    /// No response, ever.
    Hang,
    /// HTTP 200 with a body that isn't JSON.
    Garbage,
    /// `total_count` isn't a number.
    BadTotal,
    /// The rows lack `creativity_id`.
    NoKey,
    /// The access token dies before its time: it is refused from now on.
    Expire,
    /// Rows come in front, once: right after a page was served. See [`Fault`].
    Insert,
    /// Rows go, once: right after a page was served. See [`Fault`].
    Remove,
    /// The rows are in another order: the sort has ties.
    Ties,
    /// The total stated is another one.
    MovingTotal,
    /// Rows are missing at the page's end.
    ShortPage,
    /// The rows of the page before it, again.
    RepeatedPage,
    /// HTTP 200 with a system error.
    ErrorIn200,
    /// The body is compressed, whether requested or not.
    Gzip,
    /// The columns named are unknown.
    UnknownColumns,
    /// Where no columns are named, all but the basic metrics are 0.
    SilentZeros,
    /// Pages from the given one on are refused.
    DeepPage,
    /// The next page is one that was already seen.
    LoopCursor,
    /// Rows go and as many new ones come, once: right after a page was served. See [`Fault`].
    Swap,
    /// Reports begin with rows of the day before. See [`Fault`].
    NeighbourDay,
}

impl FaultKind {
    /// All of them, with the names they go by.
    pub const ALL: [(Self, &str); 25] = [
        (Self::Error500, "error_500"),
        (Self::Throttle, "throttle"),
        (Self::Reset, "reset"),
        (Self::Slow, "slow"),
        (Self::Token, "token"),
        (Self::FailPage, "fail_page"),
        (Self::Hang, "hang"),
        (Self::Garbage, "garbage"),
        (Self::BadTotal, "bad_total"),
        (Self::NoKey, "no_key"),
        (Self::Expire, "expire"),
        (Self::Insert, "insert"),
        (Self::Remove, "remove"),
        (Self::Ties, "ties"),
        (Self::MovingTotal, "moving_total"),
        (Self::ShortPage, "short_page"),
        (Self::RepeatedPage, "repeated_page"),
        (Self::ErrorIn200, "error_in_200"),
        (Self::Gzip, "gzip"),
        (Self::UnknownColumns, "unknown_columns"),
        (Self::SilentZeros, "silent_zeros"),
        (Self::DeepPage, "deep_page"),
        (Self::LoopCursor, "loop_cursor"),
        (Self::Swap, "swap"),
        (Self::NeighbourDay, "neighbour_day"),
    ];

    /// The name it goes by on the command line and in `/stats`.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// True for a fault of a page number, every time: written `NAME=PAGE`.
    pub(crate) fn is_of_pages(self) -> bool {
        matches!(self, Self::FailPage | Self::DeepPage)
    }

    /// True for a fault that changes what the API holds, instead of one response.
    pub(crate) fn is_change(self) -> bool {
        matches!(self, Self::Insert | Self::Remove | Self::Swap | Self::NeighbourDay)
    }
}

impl FromStr for FaultKind {
    type Err = FaultError;

    fn from_str(name: &str) -> Result<Self, FaultError> {
        let known = Self::ALL.iter().find(|(_, known)| *known == name);
        known.map(|(kind, _)| *kind).ok_or_else(|| FaultError::Unknown(name.to_owned()))
    }
}

/// One thing that goes wrong, and how often. Written `NAME=RATE`, `NAME=RATE@PAGE`, `fail_page=PAGE` or
/// `deep_page=PAGE`. Of `insert`, `remove` and `swap` the rate is the share of a day's rows that come or go:
/// they do right after the page, or a page beyond it, was first served; page 1 unless given. Of `neighbour_day` it
/// is the share of the rows of the day before that a report has too, from its first page on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// The kind of the fault.
    pub kind: FaultKind,
    /// The share of requests it happens to, from 0 to 1.
    pub rate: f64,
    /// The only page number it happens to, if any.
    pub page: Option<u64>,
}

/// A text that is no fault.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// No fault has this name.
    #[error("no fault is called '{0}'; there are {names}", names = FaultKind::ALL.map(|(_, name)| name).join(", "))]
    Unknown(String),
    /// The name is known, the rest is malformed.
    #[error(
        "'{0}' is not a fault: write NAME=RATE with a rate from 0 to 1, NAME=RATE@PAGE, fail_page=PAGE or deep_page=PAGE"
    )]
    Malformed(String),
}

impl Fault {
    /// The given page fails every time.
    pub fn fail_page(page: u64) -> Self {
        Self { kind: FaultKind::FailPage, rate: 1.0, page: Some(page) }
    }

    /// It happens to this share of requests.
    pub fn share(kind: FaultKind, rate: f64) -> Self {
        Self { kind, rate, page: None }
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let malformed = || FaultError::Malformed(text.to_owned());
        let page = |digits: &str| digits.parse().ok().filter(|page| *page > 0).ok_or_else(malformed);
        let (name, value) = text.split_once('=').ok_or_else(malformed)?;
        let kind: FaultKind = name.parse()?;
        if kind.is_of_pages() {
            return Ok(Self { kind, rate: 1.0, page: Some(page(value)?) });
        }
        let (rate, only) = match value.split_once('@') {
            Some((rate, only)) => (rate, Some(page(only)?)),
            None => (value, None),
        };
        let rate = rate.parse().ok().filter(|rate| (0.0..=1.0).contains(rate)).ok_or_else(malformed)?;
        Ok(Self { kind, rate, page: only })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.page) {
            (kind, Some(page)) if kind.is_of_pages() => write!(f, "{}={page}", kind.name()),
            (kind, Some(page)) => write!(f, "{}={}@{page}", kind.name(), self.rate),
            (kind, None) => write!(f, "{}={}", kind.name(), self.rate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_their_kinds() {
        for (index, (kind, name)) in FaultKind::ALL.into_iter().enumerate() {
            assert_eq!((kind as usize, kind.name(), name.parse::<FaultKind>().unwrap()), (index, name, kind));
        }
    }

    #[test]
    fn faults_read_as_written() {
        for text in ["error_500=0.05", "throttle=1", "fail_page=7", "deep_page=9", "insert=0.5@3", "hang=0"] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        let bad = [
            "",
            "hang",
            "hang=",
            "hang=2",
            "hang=-1",
            "hang=NaN",
            "fail_page=0",
            "fail_page=x",
            "no=1",
            "hang=1@0",
        ];
        for bad in bad {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
    }
}
