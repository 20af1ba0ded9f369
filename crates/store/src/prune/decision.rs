//! What a prune decides on, and how the ledger notes it.

use std::time::Duration;

use pagemill_core::{PruneAction, PruneCandidate, Retention};
use tokio_postgres::Row;

use super::Pruned;
use crate::{error::StoreError, retry::with_retry, runs::PLAN_LOCK, store::Store};

/// Partitions that were decided on, and the action for each.
#[derive(Default)]
pub(super) struct Decided {
    partitions: Vec<i64>,
    actions: Vec<&'static str>,
}

impl Decided {
    /// Partitions that lose their pages, or their responses.
    pub(super) fn losing(&self, pages: bool) -> impl Iterator<Item = i64> {
        let all = self.partitions.iter().zip(&self.actions);
        all.filter(move |(_, action)| !pages || **action != RESPONSES).map(|(id, _)| *id)
    }

    /// Partitions that go altogether.
    pub(super) fn gone(&self) -> Vec<i64> {
        let all = self.partitions.iter().zip(&self.actions);
        all.filter(|(_, action)| **action == ATTEMPT).map(|(id, _)| *id).collect()
    }
}

pub(super) const RESPONSES: &str = "responses";
pub(super) const PAGES: &str = "pages";
pub(super) const ATTEMPT: &str = "attempt";

/// Attempts decided on in one transaction, during which nothing can be planned.
const ATTEMPTS: i64 = 200;

/// Closed attempts, wholes only, that may have something left to lose.
const CLOSED: &str = "select w.id, extract(epoch from now() - w.closed_at)::float8 as closed_for, \
        exists (select from pagemill.partitions f where coalesce(f.root, f.id) = w.id and f.state = 'open') as has_open, \
        exists (select from pagemill.partitions f join pagemill.dead_letters d on d.partition = f.id \
                where coalesce(f.root, f.id) = w.id and d.dropped_at is null and d.published_at is null) as dead_wait, \
        not n.newer or exists (select from pagemill.sealed_cells c where c.attempt = w.id) \
            or exists (select from pagemill.partitions b where b.state in ('open', 'proved', 'held') and b.baseline_attempt = w.id) as stands \
    from pagemill.partitions w \
    cross join lateral (select count(*) > 0 as newer \
        from pagemill.partitions n where (n.source, n.stream, n.account, n.from_date, n.to_date) \
            = (w.source, w.stream, w.account, w.from_date, w.to_date) and n.id > w.id and n.parent is null) n \
    where w.parent is null and w.state in ('sealed', 'incomplete') and w.id > $1 \
        and w.closed_at <= now() - make_interval(secs => $2) and (w.pruned_at is null or n.newer) \
    order by w.id limit $3";

/// The attempts' partitions, and how many pages and responses each has to lose.
const CHOSEN: &str = "select f.id, c.action, \
        case when c.action <> 'responses' and f.pruned_at is null \
            then (select count(*) from pagemill.pages g where g.partition = f.id) else 0 end as pages, \
        case when f.responses_pruned_at is null then (select count(*) from pagemill.responses b where b.partition = f.id) else 0 end as responses \
    from unnest($1::bigint[], $2::text[]) as c(id, action) join pagemill.partitions f on coalesce(f.root, f.id) = c.id";

/// Marks the partitions as pruned.
const MARK: &str = "update pagemill.partitions p set responses_pruned_at = coalesce(p.responses_pruned_at, now()), \
        pruned_at = case when c.action = 'responses' then p.pruned_at else coalesce(p.pruned_at, now()) end, \
        pruned = case when c.action = 'responses' or p.pruned_at is not null then p.pruned else (\
            select jsonb_build_object('rows', coalesce(sum(g.rows) filter (where g.state = 'done'), 0), \
                'requests', coalesce(sum(g.requests), 0), 'throttled', coalesce(sum(g.throttled), 0)) \
            from pagemill.pages g where g.partition = p.id) end \
    from unnest($1::bigint[], $2::text[]) as c(id, action) where p.id = c.id";

/// The newest attempts in whose place older ones stood.
const MARK_NEWER: &str = "update pagemill.partitions p set older_pruned_at = now() from (\
        select distinct n.id from pagemill.partitions w \
        cross join lateral (select id from pagemill.partitions n \
            where (n.source, n.stream, n.account, n.from_date, n.to_date) = (w.source, w.stream, w.account, w.from_date, w.to_date) \
                and n.parent is null order by n.id desc limit 1) n \
        where w.id = any($1)) n \
    where coalesce(p.root, p.id) = n.id";

const NOTE: &str = "insert into pagemill.pruning as t (partition, action) select * from unnest($1::bigint[], $2::text[]) \
    on conflict (partition) do update set action = excluded.action";

impl Store {
    /// Decides on all closed attempts and notes it. A dry run returns what it would have noted.
    pub(super) async fn decide(
        &self,
        retention: &Retention,
        dry_run: bool,
        pruned: &mut Pruned,
    ) -> Result<Decided, StoreError> {
        let mut all = Decided::default();
        let Some(shortest) = retention.shortest() else { return Ok(all) };
        let mut last = Some(0);
        while let Some(after) = last {
            let (next, counts, decided) =
                with_retry(|| self.decide_some(retention, shortest, after, dry_run)).await?;
            pruned.attempts += counts.attempts;
            pruned.pages += counts.pages;
            pruned.responses += counts.responses;
            if dry_run {
                all.partitions.extend(decided.partitions);
                all.actions.extend(decided.actions);
            }
            last = next;
        }
        Ok(all)
    }

    /// Those with an id above `after`; where to go on.
    async fn decide_some(
        &self,
        retention: &Retention,
        shortest: Duration,
        after: i64,
        dry_run: bool,
    ) -> Result<(Option<i64>, Pruned, Decided), StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        tx.batch_execute("set local statement_timeout = '10min'").await?;
        if !dry_run {
            // Neither a plan nor a requeue meanwhile: it might open what is decided on here.
            tx.batch_execute(PLAN_LOCK).await?;
        }
        let closed = tx.query(CLOSED, &[&after, &shortest.as_secs_f64(), &ATTEMPTS]).await?;
        let (mut wholes, mut actions) = (Vec::new(), Vec::new());
        for row in &closed {
            if let Some(action) = note(retention.action(&facts(row))) {
                wholes.push(row.get::<_, i64>("id"));
                actions.push(action);
            }
        }
        let mut counts = Pruned {
            attempts: actions.iter().filter(|f| **f == ATTEMPT).count() as u64,
            ..Pruned::default()
        };
        let mut decided = Decided::default();
        for row in tx.query(CHOSEN, &[&wholes, &actions]).await? {
            decided.partitions.push(row.get("id"));
            decided.actions.extend(actions.iter().find(|f| **f == row.get::<_, &str>("action")));
            counts.pages += row.get::<_, i64>("pages") as u64;
            counts.responses += row.get::<_, i64>("responses") as u64;
        }
        if !dry_run && !wholes.is_empty() {
            let gone: Vec<i64> =
                wholes.iter().zip(&actions).filter(|(_, f)| **f == ATTEMPT).map(|(id, _)| *id).collect();
            tx.execute(MARK, &[&decided.partitions, &decided.actions]).await?;
            tx.execute(MARK_NEWER, &[&gone]).await?;
            tx.execute(NOTE, &[&decided.partitions, &decided.actions]).await?;
        }
        tx.commit().await?;
        let next = closed.last().filter(|_| closed.len() as i64 == ATTEMPTS).map(|row| row.get("id"));
        Ok((next, counts, decided))
    }
}

/// As the ledger notes it.
fn note(action: PruneAction) -> Option<&'static str> {
    match action {
        PruneAction::Stays => None,
        PruneAction::LosesResponses => Some(RESPONSES),
        PruneAction::LosesPages => Some(PAGES),
        PruneAction::Goes => Some(ATTEMPT),
    }
}

fn facts(row: &Row) -> PruneCandidate {
    let closed = Duration::try_from_secs_f64(row.get::<_, f64>("closed_for").max(0.0)).ok();
    PruneCandidate {
        closed: closed.filter(|_| !row.get::<_, bool>("has_open")),
        dead_wait: row.get("dead_wait"),
        stands: row.get("stands"),
    }
}
