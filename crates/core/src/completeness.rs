use std::fmt;

/// Pages asked for, both ends inclusive, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    /// First page.
    pub first: u32,
    /// Last page.
    pub last: u32,
}

impl PageRange {
    /// How many pages.
    pub fn count(self) -> u32 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// What the ledger knows of a partition whose every page is done or dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SealFacts {
    /// The total that the API stated when the partition was expanded.
    pub total: u64,
    /// Keys in the current versions of all done pages.
    pub keys: u64,
    /// How many of these are distinct.
    pub distinct_keys: u64,
    /// Pages whose answer stated another total.
    pub pages_moved: u64,
    /// Pages that ended in the dead letters.
    pub pages_dead: u64,
    /// Whether only some pages were asked for.
    pub subset: bool,
}

/// Sealed or incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Complete, proved by the facts.
    Sealed,
    /// Not provably complete, and why.
    Incomplete(IncompleteReason),
}

/// Why a partition could not be sealed. Prints as one line with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncompleteReason {
    /// Only given pages were asked for (`--pages`).
    Subset,
    /// Some pages are dead.
    DeadPages(u64),
    /// The API's total changed while the pages were read.
    TotalMoved {
        /// Pages that stated another total.
        pages: u64,
    },
    /// The same key came on more than one row.
    RepeatedKeys(u64),
    /// Fewer or more distinct keys than the API's total.
    KeysDiffer {
        /// Stated.
        total: u64,
        /// Found.
        distinct: u64,
    },
}

/// Sealed means complete: the distinct keys equal the stated total, the total did not move, and no
/// key came twice. Anything else is incomplete, never silently good.
pub fn verdict(facts: &SealFacts) -> Verdict {
    let SealFacts { total, keys, distinct_keys, pages_moved, pages_dead, subset } = *facts;
    Verdict::Incomplete(if pages_dead > 0 {
        IncompleteReason::DeadPages(pages_dead)
    } else if subset {
        IncompleteReason::Subset
    } else if pages_moved > 0 {
        IncompleteReason::TotalMoved { pages: pages_moved }
    } else if keys != distinct_keys {
        IncompleteReason::RepeatedKeys(keys - distinct_keys)
    } else if distinct_keys != total {
        IncompleteReason::KeysDiffer { total, distinct: distinct_keys }
    } else {
        return Verdict::Sealed;
    })
}

impl fmt::Display for IncompleteReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subset => write!(f, "subset"),
            Self::DeadPages(n) => write!(f, "{n} dead page{}", if *n == 1 { "" } else { "s" }),
            Self::TotalMoved { pages } => {
                write!(f, "the API's total moved while it was read ({pages} pages state another)")
            }
            Self::RepeatedKeys(n) => write!(f, "{n} rows repeat a key that came before"),
            Self::KeysDiffer { total, distinct } => {
                write!(f, "{distinct} distinct keys, but the API states {total} rows")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_partitions_seal() {
        let good = SealFacts { total: 250, keys: 250, distinct_keys: 250, ..SealFacts::default() };
        assert_eq!(verdict(&good), Verdict::Sealed);
        assert_eq!(verdict(&SealFacts::default()), Verdict::Sealed, "a total of 0 is complete");
        for (bad, reason) in [
            (SealFacts { distinct_keys: 249, ..good }, "1 rows repeat a key that came before"),
            (
                SealFacts { keys: 249, distinct_keys: 249, ..good },
                "249 distinct keys, but the API states 250 rows",
            ),
            (
                SealFacts { pages_moved: 2, ..good },
                "the API's total moved while it was read (2 pages state another)",
            ),
            (SealFacts { pages_dead: 1, ..good }, "1 dead page"),
            (SealFacts { subset: true, ..good }, "subset"),
            (SealFacts { subset: true, pages_dead: 2, ..good }, "2 dead pages"),
        ] {
            let Verdict::Incomplete(found) = verdict(&bad) else { panic!("sealed: {bad:?}") };
            assert_eq!(found.to_string(), reason);
        }
    }
}
