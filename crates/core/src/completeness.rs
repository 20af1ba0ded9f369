use std::fmt;

/// Requested pages, both ends inclusive, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    /// First page.
    pub first: u32,
    /// Last page.
    pub last: u32,
}

impl PageRange {
    /// The number of pages.
    pub fn count(self) -> u32 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// What the ledger knows of a partition whose every page is done or dead.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SealFacts {
    /// The total that the API states, in its latest word; `None` where it states none.
    pub total: Option<u64>,
    /// Keys in the current versions of all done pages.
    pub keys: u64,
    /// Distinct keys among them.
    pub distinct_keys: u64,
    /// Pages whose response stated another total.
    pub pages_moved: u64,
    /// Pages that ended in the dead letters.
    pub pages_dead: u64,
    /// A page whose next page is one that came before, where pages follow one another.
    pub cursor_loop: Option<CursorLoop>,
    /// Additive metrics whose stored sum is not the API's own.
    pub sums_differ: Vec<SumDiffers>,
    /// True if only some pages were requested.
    pub subset: bool,
    /// Rows of other days or accounts, which are not stored; `None` if there are none.
    pub outside: Option<OutsideFacts>,
}

/// Rows that the API's responses hold although they belong to other days or accounts. They are never stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutsideFacts {
    /// Rows in the current versions of all done pages.
    pub rows: u64,
    /// Distinct keys among them.
    pub distinct_keys: u64,
    /// A column of such a row, with its value: `time 2026-11-19`.
    pub example: String,
    /// True if the definition says that the API's total and sums count them (`outside = "drop"`).
    pub dropped: bool,
}

/// A cursor that an earlier page named before: the API's pages go in circles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorLoop {
    /// The page that names a next page
    pub page: u32,
    /// that this earlier one named before.
    pub earlier: u32,
}

/// A metric whose rows do not add up to what the API states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SumDiffers {
    /// The column.
    pub metric: String,
    /// The API's own sum, as a decimal.
    pub stated: String,
    /// The sum over the stored rows.
    pub stored: String,
}

/// Facts of a partition that was split into parts, once all parts are closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartsFacts {
    /// The total that the API states for the whole.
    pub total: u64,
    /// The parts' totals, added up.
    pub parts_total: u64,
    /// Parts in all.
    pub parts: u64,
    /// Parts that are incomplete, and the first of them with its reason.
    pub incomplete: Option<(u64, String)>,
    /// Keys that come in more than one part.
    pub repeated_keys: u64,
    /// Additive metrics whose parts do not add up to the whole.
    pub sums_differ: Vec<SumDiffers>,
}

/// Complete or incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Proved by the facts.
    Complete,
    /// Not provably complete, and why.
    Incomplete(IncompleteReason),
}

/// Why a partition could not be sealed. Prints as one line with its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IncompleteReason {
    /// Only given pages were requested (`--pages`).
    Subset,
    /// Some pages are dead.
    DeadPages(u64),
    /// The API's total changed while the pages were read.
    TotalMoved {
        /// Pages that stated another total.
        pages: u64,
    },
    /// Rows of other days or accounts were in the responses.
    OutsideRows {
        /// So many,
        rows: u64,
        /// such as this one.
        example: String,
    },
    /// A key is on more than one row.
    RepeatedKeys(u64),
    /// Fewer or more distinct keys than the API's total.
    KeysDiffer {
        /// Stated.
        total: u64,
        /// Found.
        distinct: u64,
    },
    /// A page names a next page that came before.
    CursorLoop(CursorLoop),
    /// The stored sums are not the API's own: a row went while another came.
    SumsDiffer(Vec<SumDiffers>),
    /// Some parts are incomplete.
    PartsIncomplete {
        /// Incomplete parts,
        count: u64,
        /// of so many parts.
        parts: u64,
        /// The first one, and its reason.
        first: String,
    },
    /// The parts do not add up to the whole: `split_by` lacks a value, or the data moved.
    PartsDiffer {
        /// Stated for the whole.
        total: u64,
        /// The parts' totals, added up.
        parts_total: u64,
    },
    /// More rows than the API shows, and nothing left to split by.
    TooDeep {
        /// Stated.
        total: u64,
        /// The most that the API shows.
        window: u64,
    },
}

impl IncompleteReason {
    /// True if fetching pages again may repair the partition. A request that brings rows of other days or accounts
    /// brings them again.
    pub fn is_repairable(&self) -> bool {
        matches!(
            self,
            Self::TotalMoved { .. } | Self::RepeatedKeys(_) | Self::KeysDiffer { .. } | Self::SumsDiffer(_)
        )
    }
}

/// Complete means: the distinct keys equal the stated total, the total did not move, no key
/// came twice, and the sums are the API's own. Where no total is stated the chain of pages must have
/// come to its end. Rows of other days or accounts count only where they may be dropped. Anything else is
/// incomplete, never silently good.
pub fn verdict(facts: &SealFacts) -> Verdict {
    let &SealFacts { total, pages_moved, pages_dead, cursor_loop, subset, .. } = facts;
    let outside = facts.outside.as_ref();
    let keys = facts.keys + outside.map_or(0, |outside| outside.rows);
    let distinct_keys = facts.distinct_keys + outside.map_or(0, |outside| outside.distinct_keys);
    let total = total.unwrap_or(distinct_keys);
    Verdict::Incomplete(if pages_dead > 0 {
        IncompleteReason::DeadPages(pages_dead)
    } else if let Some(OutsideFacts { rows, example, dropped: false, .. }) = outside {
        IncompleteReason::OutsideRows { rows: *rows, example: example.clone() }
    } else if subset {
        IncompleteReason::Subset
    } else if let Some(cursor_loop) = cursor_loop {
        IncompleteReason::CursorLoop(cursor_loop)
    } else if pages_moved > 0 {
        IncompleteReason::TotalMoved { pages: pages_moved }
    } else if keys != distinct_keys {
        IncompleteReason::RepeatedKeys(keys - distinct_keys)
    } else if distinct_keys != total {
        IncompleteReason::KeysDiffer { total, distinct: distinct_keys }
    } else if !facts.sums_differ.is_empty() {
        IncompleteReason::SumsDiffer(facts.sums_differ.clone())
    } else {
        return Verdict::Complete;
    })
}

/// A whole is complete when its parts are, and add up to it.
pub fn verdict_of_parts(facts: &PartsFacts) -> Verdict {
    let PartsFacts { total, parts_total, parts, incomplete, repeated_keys, sums_differ } = facts;
    Verdict::Incomplete(if let Some((count, first)) = incomplete {
        IncompleteReason::PartsIncomplete { count: *count, parts: *parts, first: first.clone() }
    } else if total != parts_total {
        IncompleteReason::PartsDiffer { total: *total, parts_total: *parts_total }
    } else if *repeated_keys > 0 {
        IncompleteReason::RepeatedKeys(*repeated_keys)
    } else if !sums_differ.is_empty() {
        IncompleteReason::SumsDiffer(sums_differ.clone())
    } else {
        return Verdict::Complete;
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
            Self::OutsideRows { rows, example } => write!(
                f,
                "{rows} rows of other days or accounts, such as {example}, were not stored: correct the request, \
                 or set outside = \"drop\" in the definition"
            ),
            Self::RepeatedKeys(n) => write!(f, "{n} rows repeat a key that came before"),
            Self::KeysDiffer { total, distinct } => {
                write!(f, "{distinct} distinct keys, but the API states {total} rows")
            }
            Self::CursorLoop(CursorLoop { page, earlier }) => {
                write!(f, "page {page} names the same next page as page {earlier}: the API goes in circles")
            }
            Self::SumsDiffer(differ) => {
                write!(f, "the stored sums are not the API's own")?;
                for (i, SumDiffers { metric, stated, stored }) in differ.iter().enumerate() {
                    write!(f, "{} {metric} {stored}, stated {stated}", if i == 0 { ":" } else { ";" })?;
                }
                Ok(())
            }
            Self::PartsIncomplete { count, parts, first } => {
                write!(f, "{count} of {parts} parts are incomplete: {first}")
            }
            Self::PartsDiffer { total, parts_total } => write!(
                f,
                "the parts have {parts_total} rows, but the API states {total} for the whole: \
                 does split_by name every value?"
            ),
            Self::TooDeep { total, window } => write!(
                f,
                "{total} rows, of which the API shows the first {window}: split_by names nothing more to split by"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(verdict: Verdict) -> String {
        let Verdict::Incomplete(reason) = verdict else { panic!("sealed") };
        reason.to_string()
    }

    #[test]
    fn only_whole_partitions_seal() {
        let good = || SealFacts { total: Some(250), keys: 250, distinct_keys: 250, ..SealFacts::default() };
        let fee = || SumDiffers { metric: "fee".into(), stated: "5.30".into(), stored: "5.20".into() };
        assert_eq!(verdict(&good()), Verdict::Complete);
        assert_eq!(verdict(&SealFacts { total: Some(0), ..SealFacts::default() }), Verdict::Complete);
        assert_eq!(verdict(&SealFacts { total: None, ..good() }), Verdict::Complete, "no total is stated");
        for (bad, expected) in [
            (SealFacts { distinct_keys: 249, ..good() }, "1 rows repeat a key that came before"),
            (
                SealFacts { keys: 249, distinct_keys: 249, ..good() },
                "249 distinct keys, but the API states 250 rows",
            ),
            (
                SealFacts { pages_moved: 2, ..good() },
                "the API's total moved while it was read (2 pages state another)",
            ),
            (SealFacts { pages_dead: 1, ..good() }, "1 dead page"),
            (SealFacts { subset: true, ..good() }, "subset"),
            (SealFacts { subset: true, pages_dead: 2, ..good() }, "2 dead pages"),
            (
                SealFacts { cursor_loop: Some(CursorLoop { page: 7, earlier: 3 }), ..good() },
                "page 7 names the same next page as page 3: the API goes in circles",
            ),
            (
                SealFacts { sums_differ: vec![fee()], ..good() },
                "the stored sums are not the API's own: fee 5.20, stated 5.30",
            ),
        ] {
            assert_eq!(reason(verdict(&bad)), expected);
        }
    }

    #[test]
    fn rows_outside_the_slice_count_only_where_they_may_be_dropped() {
        let facts = |rows, distinct_keys, dropped| SealFacts {
            total: Some(250),
            keys: 247,
            distinct_keys: 247,
            outside: Some(OutsideFacts { rows, distinct_keys, example: "time 2026-11-19".into(), dropped }),
            ..SealFacts::default()
        };
        let outside = "3 rows of other days or accounts, such as time 2026-11-19, were not stored: correct the request, \
                       or set outside = \"drop\" in the definition";
        let moved = SealFacts { pages_moved: 1, subset: true, ..facts(3, 3, false) };
        let Verdict::Incomplete(reason_of_moved) = verdict(&moved) else { panic!("sealed") };
        assert_eq!((reason_of_moved.to_string().as_str(), reason_of_moved.is_repairable()), (outside, false));
        assert_eq!(verdict(&facts(3, 3, true)), Verdict::Complete);
        assert_eq!(verdict(&SealFacts { total: None, ..facts(3, 3, true) }), Verdict::Complete);
        for (bad, expected) in [
            (facts(3, 2, true), "1 rows repeat a key that came before"),
            (facts(2, 2, true), "249 distinct keys, but the API states 250 rows"),
            (SealFacts { subset: true, ..facts(3, 3, true) }, "subset"),
        ] {
            assert_eq!(reason(verdict(&bad)), expected);
        }
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let good = PartsFacts { total: 30, parts_total: 30, parts: 2, ..PartsFacts::default() };
        assert_eq!(verdict_of_parts(&good), Verdict::Complete);
        let lacking = PartsFacts { parts_total: 20, ..good.clone() };
        assert!(reason(verdict_of_parts(&lacking)).starts_with("the parts have 20 rows"));
        let twice = PartsFacts { repeated_keys: 2, ..good.clone() };
        assert_eq!(reason(verdict_of_parts(&twice)), "2 rows repeat a key that came before");
        let bad = PartsFacts { incomplete: Some((1, "b=2: 1 dead page".into())), ..lacking };
        assert_eq!(reason(verdict_of_parts(&bad)), "1 of 2 parts are incomplete: b=2: 1 dead page");
    }
}
