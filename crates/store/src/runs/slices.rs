//! What the ledger has of wanted slices, and what planning decides by it.

use deadpool_postgres::Transaction;
use jiff::{Timestamp, civil::Date};
use pagemill_core::{PageRange, WriteMode};
use tokio_postgres::{Row, types::ToSql};

use super::NewPartition;
use crate::{
    error::StoreError,
    partitions::{CONFLICT, CONFLICTING_CELL, PartitionState},
};

/// A held attempt is looked at again after so many seconds, not before.
const SECOND_LOOK_AFTER: f64 = 600.0;

/// What the ledger has of a wanted slice.
#[derive(Default)]
pub(super) struct SliceFacts {
    /// Attempts at conflicting slices that are not closed, the oldest first.
    pub(super) unclosed: Vec<Unclosed>,
    /// What is sealed of it.
    pub(super) sealed: Option<SealedPart>,
}

/// An attempt at a conflicting slice that is not closed.
pub(super) struct Unclosed {
    pub(super) id: i64,
    pub(super) run: i64,
    pub(super) state: PartitionState,
    from: Date,
    to: Date,
    subset: Option<PageRange>,
    is_reload: bool,
    /// Seconds since it ended, if it is held.
    held_for: f64,
    /// Pages that it still wants, once its total is known.
    pub(super) remaining: Option<u64>,
}

/// What is sealed of a wanted slice.
pub(super) struct SealedPart {
    /// The newest run among those that sealed it, and when that was.
    pub(super) run: i64,
    pub(super) at: Timestamp,
    /// True if all of it is sealed.
    is_all: bool,
    /// The data is at least so recent.
    requested_from: Option<Timestamp>,
}

/// What planning does with a wanted slice.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    /// Wait for this attempt.
    Adopt(i64),
    /// It is there.
    Sealed,
    /// Pull it, in this mode, instead of these attempts.
    Pull(WriteMode, Vec<i64>),
}

/// The facts of wanted slices, in their order.
pub(super) async fn read_facts(
    tx: &Transaction<'_>,
    wanted: &[NewPartition],
) -> Result<Vec<SliceFacts>, StoreError> {
    let column = |of: fn(&NewPartition) -> &str| -> Vec<&str> { wanted.iter().map(of).collect() };
    let (sources, streams) = (column(|w| &w.slice.source), column(|w| &w.slice.stream));
    let (accounts, scopes) = (column(|w| &w.row_account), column(|w| w.date_scope));
    let from: Vec<Date> = wanted.iter().map(|w| w.slice.from).collect();
    let to: Vec<Date> = wanted.iter().map(|w| w.slice.to).collect();
    let params: [&(dyn ToSql + Sync); 6] = [&sources, &streams, &accounts, &from, &to, &scopes];
    let mut facts: Vec<SliceFacts> = wanted.iter().map(|_| SliceFacts::default()).collect();
    let nth = |row: &Row| row.get::<_, i64>("nth") as usize - 1;
    let unclosed = format!(
        "select p.nth, o.id, o.run, o.state, o.from_date, o.to_date, o.subset_first, o.subset_last, o.reload_of is not null as is_reload, \
             extract(epoch from now() - o.progressed_at)::float8 as held_for, \
             (o.last_page - o.first_page + 1 - o.done - o.dead)::bigint as remaining \
         from unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::date[], $6::text[]) \
             with ordinality as p(source, stream, row_account, from_date, to_date, date_scope, nth) \
         join pagemill.partitions o on o.state in ('open', 'proved', 'held') and o.parent is null and {CONFLICT} order by p.nth, o.id"
    );
    for row in tx.query(&unclosed, &params).await? {
        facts[nth(&row)].unclosed.push(Unclosed::from_row(&row));
    }
    let sealed = format!(
        "select p.nth, max(a.run) as run, max(a.closed_at) as at, min(a.requested_from) as requested_from, \
             case max(p.date_scope) when 'within' then count(*) = max(p.to_date) - max(p.from_date) + 1 \
                 else bool_and((c.from_date, c.to_date) = (p.from_date, p.to_date)) end as is_all \
         from unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::date[], $6::text[]) \
             with ordinality as p(source, stream, row_account, from_date, to_date, date_scope, nth) \
         join pagemill.sealed_cells c on {CONFLICTING_CELL} join pagemill.partitions a on a.id = c.attempt group by p.nth"
    );
    for row in tx.query(&sealed, &params).await? {
        facts[nth(&row)].sealed = Some(SealedPart {
            run: row.get("run"),
            at: row.get("at"),
            is_all: row.get("is_all"),
            requested_from: row.get("requested_from"),
        });
    }
    Ok(facts)
}

impl SliceFacts {
    /// Decides what to do with a wanted slice. An open attempt that contains it is adopted, one that it contains is
    /// superseded, unless it is proved already. The slice's rows are staged if they may replace sealed ones, or if another
    /// attempt writes to the same rows meanwhile. Some pages of a slice never supersede anything.
    pub(super) fn decide(&self, wanted: &NewPartition, again: bool) -> Decision {
        if let Some(attempt) = self.unclosed.iter().rev().find(|attempt| attempt.serves(wanted)) {
            return Decision::Adopt(attempt.id);
        }
        if !again && self.sealed.as_ref().is_some_and(|sealed| sealed.is_final(wanted)) {
            return Decision::Sealed;
        }
        let (superseded, others): (Vec<&Unclosed>, Vec<&Unclosed>) =
            self.unclosed.iter().partition(|attempt| attempt.gives_way_to(wanted));
        // Pages that were requested by themselves are never sealed: they may meet in the table.
        let is_harmless = |other: &&Unclosed| wanted.subset.is_some() && other.subset.is_some();
        let direct = self.sealed.is_none() && others.iter().all(is_harmless);
        let write_mode = if direct { WriteMode::Direct } else { WriteMode::Staged };
        Decision::Pull(write_mode, superseded.iter().map(|attempt| attempt.id).collect())
    }
}

impl Unclosed {
    fn from_row(row: &Row) -> Self {
        let subset: Option<(i32, i32)> =
            row.get::<_, Option<i32>>("subset_first").zip(row.get("subset_last"));
        Self {
            id: row.get("id"),
            run: row.get("run"),
            state: row.get("state"),
            from: row.get("from_date"),
            to: row.get("to_date"),
            subset: subset.map(|(first, last)| PageRange { first: first as u32, last: last as u32 }),
            is_reload: row.get("is_reload"),
            held_for: row.get("held_for"),
            remaining: row.get::<_, Option<i64>>("remaining").map(|n| n.max(0) as u64),
        }
    }

    fn is_at(&self, wanted: &NewPartition) -> bool {
        (self.from, self.to) == (wanted.slice.from, wanted.slice.to)
    }

    /// True if the attempt brings what is wanted. A held one does for a while: then it is time for a second look.
    fn serves(&self, wanted: &NewPartition) -> bool {
        let contains = match wanted.date_scope {
            "within" => self.from <= wanted.slice.from && self.to >= wanted.slice.to,
            _ => self.is_at(wanted),
        };
        let is_held = self.state == PartitionState::Held && self.held_for >= SECOND_LOOK_AFTER;
        contains
            && !is_held
            && !self.is_reload
            && (self.subset.is_none() || self.is_at(wanted) && self.subset == wanted.subset)
    }

    /// True if the attempt is closed in favour of what is wanted.
    fn gives_way_to(&self, wanted: &NewPartition) -> bool {
        let is_contained = match wanted.date_scope {
            "within" => wanted.slice.from <= self.from && wanted.slice.to >= self.to,
            _ => true,
        };
        self.state == PartitionState::Open && (is_contained && wanted.subset.is_none() || self.is_reload)
    }
}

impl SealedPart {
    /// Sealed as a whole, and from late enough requests.
    fn is_final(&self, wanted: &NewPartition) -> bool {
        let is_late = |due| self.requested_from.is_some_and(|requested| requested >= due);
        self.is_all && wanted.due_if_requested_before.is_none_or(is_late)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use pagemill_core::{Lane, Slice};

    use super::*;

    fn wanted(first: i8, last: i8) -> NewPartition {
        let slice = Slice {
            source: "s".into(),
            stream: "t".into(),
            account: "a".into(),
            from: date(2026, 1, first),
            to: date(2026, 1, last),
            part: Default::default(),
        };
        NewPartition {
            slice,
            row_account: "a".into(),
            date_scope: "within",
            lane: Lane::High,
            page_size: 100,
            subset: None,
            chained: false,
            due_if_requested_before: None,
        }
    }

    fn open(id: i64, first: i8, last: i8) -> Unclosed {
        Unclosed {
            id,
            run: 10 * id,
            state: PartitionState::Open,
            from: date(2026, 1, first),
            to: date(2026, 1, last),
            subset: None,
            is_reload: false,
            held_for: 0.0,
            remaining: None,
        }
    }

    fn sealed(requested_from: i64) -> SealedPart {
        SealedPart {
            run: 1,
            at: Timestamp::UNIX_EPOCH,
            is_all: true,
            requested_from: Some(Timestamp::from_second(requested_from).unwrap()),
        }
    }

    fn facts(unclosed: Vec<Unclosed>, sealed: Option<SealedPart>) -> SliceFacts {
        SliceFacts { unclosed, sealed }
    }

    const PAGES: Option<PageRange> = Some(PageRange { first: 2, last: 3 });

    #[test]
    fn the_first_pull_writes_directly_and_a_later_one_stages() {
        assert_eq!(
            facts(vec![], None).decide(&wanted(5, 5), false),
            Decision::Pull(WriteMode::Direct, vec![])
        );
        assert_eq!(
            facts(vec![], Some(sealed(9))).decide(&wanted(5, 5), true),
            Decision::Pull(WriteMode::Staged, vec![])
        );
        let part = SealedPart { is_all: false, ..sealed(9) };
        assert_eq!(
            facts(vec![], Some(part)).decide(&wanted(5, 6), false),
            Decision::Pull(WriteMode::Staged, vec![])
        );
    }

    #[test]
    fn finality_goes_by_the_earliest_request() {
        let due = |seconds| NewPartition {
            due_if_requested_before: Some(Timestamp::from_second(seconds).unwrap()),
            ..wanted(5, 5)
        };
        assert_eq!(facts(vec![], Some(sealed(100))).decide(&due(100), false), Decision::Sealed);
        assert_eq!(
            facts(vec![], Some(sealed(99))).decide(&due(100), false),
            Decision::Pull(WriteMode::Staged, vec![])
        );
    }

    #[test]
    fn conflicting_attempts_are_adopted_superseded_or_waited_for() {
        let decide =
            |attempt: Unclosed, first, last| facts(vec![attempt], None).decide(&wanted(first, last), true);
        assert_eq!(decide(open(1, 1, 7), 5, 5), Decision::Adopt(1), "it contains the slice");
        assert_eq!(
            decide(open(1, 5, 5), 1, 7),
            Decision::Pull(WriteMode::Direct, vec![1]),
            "it is contained"
        );
        assert_eq!(decide(open(1, 1, 5), 4, 7), Decision::Pull(WriteMode::Staged, vec![]), "they overlap");
        let proved = Unclosed { state: PartitionState::Proved, ..open(1, 5, 5) };
        assert_eq!(decide(proved, 1, 7), Decision::Pull(WriteMode::Staged, vec![]), "it is proved");
        let reload = Unclosed { is_reload: true, ..open(1, 1, 7) };
        assert_eq!(
            decide(reload, 5, 5),
            Decision::Pull(WriteMode::Direct, vec![1]),
            "a reload brings nothing new"
        );
    }

    #[test]
    fn a_held_attempt_is_looked_at_again_after_ten_minutes() {
        let held = |held_for| Unclosed { state: PartitionState::Held, held_for, ..open(1, 5, 5) };
        let decide = |attempt| facts(vec![attempt], Some(sealed(9))).decide(&wanted(5, 5), true);
        assert_eq!(decide(held(599.0)), Decision::Adopt(1));
        assert_eq!(decide(held(600.0)), Decision::Pull(WriteMode::Staged, vec![]));
    }

    #[test]
    fn some_pages_supersede_nothing() {
        let some = NewPartition { subset: PAGES, ..wanted(5, 5) };
        assert_eq!(facts(vec![open(1, 5, 5)], None).decide(&some, true), Decision::Adopt(1));
        let others = Unclosed { subset: Some(PageRange { first: 7, last: 9 }), ..open(1, 5, 5) };
        assert_eq!(facts(vec![others], None).decide(&some, true), Decision::Pull(WriteMode::Direct, vec![]));
        let same = Unclosed { subset: PAGES, ..open(1, 5, 5) };
        assert_eq!(facts(vec![same], None).decide(&some, true), Decision::Adopt(1));
        let some_open = Unclosed { subset: PAGES, ..open(1, 5, 5) };
        assert_eq!(
            facts(vec![some_open], None).decide(&wanted(5, 5), true),
            Decision::Pull(WriteMode::Direct, vec![1])
        );
    }
}
