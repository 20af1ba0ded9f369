use std::collections::HashMap;

use crate::{
    fault::{Fault, FaultKind},
    random::{Random, mix},
};

/// The faults switched on, and how often each page was requested: the two things that, with the
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

    /// Counts one more attempt at the page (its hash) and returns what goes wrong with it: of the faults
    /// switched on that can strike it, the first whose draw falls below its rate.
    pub(crate) fn decide(
        &mut self,
        request: u64,
        page: u64,
        can_strike: impl Fn(FaultKind) -> bool,
    ) -> Option<FaultKind> {
        let attempt = self.attempts.entry(request).or_default();
        *attempt += 1;
        let draw = self.seed ^ mix(request ^ mix(*attempt));
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
