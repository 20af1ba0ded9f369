use std::{collections::HashMap, fmt, str::FromStr};

use crate::random::{Random, mix};

/// What can go wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// HTTP 500 with a system error.
    Error500,
    /// The throttled answer, though the rate was kept.
    Throttle,
    /// The connection is reset in the middle of the answer.
    Reset,
    /// A good answer that takes [`crate::SimulatorConfig::slow_for`] longer.
    Slow,
    /// The answer to an expired token.
    Token,
    /// The given page fails like `error_500`, every time.
    FailPage,
    /// No answer, ever.
    Hang,
    /// HTTP 200 with a body that isn't JSON.
    Garbage,
    /// `total_count` isn't a number.
    BadTotal,
    /// The rows lack `creativity_id`.
    NoKey,
    /// The access token dies before its time: it is refused from now on.
    Expire,
    /// Rows come in front, once: right after a page was answered. See [`Fault`].
    Insert,
    /// Rows go, once: right after a page was answered. See [`Fault`].
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
    /// The body is compressed, whether asked for or not.
    Gzip,
    /// The columns named are unknown.
    UnknownColumns,
    /// Where no columns are named, all but the basic metrics are 0.
    SilentZeros,
    /// Pages from the given one on are refused.
    DeepPage,
    /// The next page is one that was already seen.
    LoopCursor,
}

impl FaultKind {
    /// All of them, with the names they go by.
    pub const ALL: [(Self, &str); 23] = [
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
    ];

    /// The name it goes by on the command line and in `/stats`.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Whether it is about pages by their number, every time: written `NAME=PAGE`.
    pub(crate) fn is_of_pages(self) -> bool {
        matches!(self, Self::FailPage | Self::DeepPage)
    }

    /// Whether it changes what the API holds, instead of one answer.
    pub(crate) fn is_change(self) -> bool {
        matches!(self, Self::Insert | Self::Remove)
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
/// `deep_page=PAGE`. Of `insert` and `remove` the rate is the share of a day's rows that come or go:
/// they do right after it, or a page beyond it, was first answered; page 1 unless given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// The share of requests it happens to, from 0 to 1.
    pub rate: f64,
    /// The only page number it happens to, if any.
    pub page: Option<u64>,
}

/// What was written is no fault.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// No fault has this name.
    #[error("no fault is called '{0}'; there are {names}", names = FaultKind::ALL.map(|(_, name)| name).join(", "))]
    Unknown(String),
    /// The name is good, the rest isn't.
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

/// The faults switched on, and how often each page was asked for: the two things that, with the
/// seed, decide what a request gets.
pub(crate) struct Faults {
    seed: u64,
    on: Vec<Fault>,
    attempts: HashMap<u64, u64>,
}

impl Faults {
    pub(crate) fn new(seed: u64, on: Vec<Fault>) -> Self {
        Self { seed, on, attempts: HashMap::new() }
    }

    /// Counts one more attempt at the page (its hash) and says what goes wrong with it: of the faults
    /// switched on that can strike it, the first whose draw falls below its rate.
    pub(crate) fn decide(
        &mut self,
        asked: u64,
        page: u64,
        can_strike: impl Fn(FaultKind) -> bool,
    ) -> Option<FaultKind> {
        let attempt = self.attempts.entry(asked).or_default();
        *attempt += 1;
        let draw = self.seed ^ mix(asked ^ mix(*attempt));
        let strikes = |fault: &&Fault| {
            !fault.kind.is_change()
                && can_strike(fault.kind)
                && fault
                    .page
                    .is_none_or(|only| only == page || fault.kind == FaultKind::DeepPage && page > only)
                && Random::at(draw, fault.kind as u64).share() < fault.rate
        };
        self.on.iter().find(strikes).map(|fault| fault.kind)
    }

    /// Switches a fault on, or changes its rate.
    pub(crate) fn set(&mut self, fault: Fault) {
        self.on.retain(|known| (known.kind, known.page) != (fault.kind, fault.page));
        self.on.push(fault);
    }

    /// Switches a kind of fault off, for one page or altogether.
    pub(crate) fn clear(&mut self, kind: FaultKind, page: Option<u64>) {
        self.on.retain(|known| known.kind != kind || (page.is_some() && known.page != page));
    }

    /// The changes of what the API holds that are switched on.
    pub(crate) fn changes(&self) -> Vec<Fault> {
        self.on.iter().filter(|fault| fault.kind.is_change()).copied().collect()
    }

    pub(crate) fn on(&self) -> &[Fault] {
        &self.on
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

    #[test]
    fn faults_repeat_with_the_seed_and_keep_their_rate() {
        let draw = |seed| {
            let mut faults = Faults::new(seed, vec![Fault::share(FaultKind::Reset, 0.2)]);
            (0..10_000)
                .map(|n| faults.decide(mix(n % 1_000), n % 1_000, |_| true).is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let struck = draw(1).into_iter().filter(|struck| *struck).count();
        assert!((1_800..2_200).contains(&struck), "{struck}");
    }

    #[test]
    fn deep_pages_are_all_from_one_on() {
        let mut faults = Faults::new(1, vec!["deep_page=7".parse().unwrap()]);
        assert_eq!(faults.decide(6, 6, |_| true), None);
        assert_eq!([7, 8].map(|page| faults.decide(page, page, |_| true)), [Some(FaultKind::DeepPage); 2]);
    }

    #[test]
    fn a_failing_page_can_be_lifted() {
        let mut faults = Faults::new(1, vec![Fault::fail_page(7), Fault::fail_page(8)]);
        assert_eq!(faults.decide(70, 7, |_| true), Some(FaultKind::FailPage));
        assert_eq!(faults.decide(60, 6, |_| true), None);
        faults.clear(FaultKind::FailPage, Some(7));
        assert_eq!(
            (faults.decide(70, 7, |_| true), faults.decide(80, 8, |_| true)),
            (None, Some(FaultKind::FailPage))
        );
        faults.clear(FaultKind::FailPage, None);
        assert_eq!(faults.decide(80, 8, |_| true), None);
        faults.set(Fault::share(FaultKind::Hang, 1.0));
        faults.set(Fault::share(FaultKind::Hang, 0.0));
        assert_eq!(faults.on().len(), 1);
    }
}
