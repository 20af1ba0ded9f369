//! The pace of a run, and the pages that remain.

use jiff::Timestamp;

use super::Runs;
use crate::{error::StoreError, error::none_found};

/// One source's share of a run.
#[derive(Clone, Debug)]
pub struct Pace {
    /// The source's name.
    pub source: String,
    /// Partitions still open.
    pub open: u64,
    /// Pages still missing of the open partitions; where no total is stated yet, from the newest
    /// total of the same stream and account.
    pub remaining: u64,
    /// When its last partition closed, once none is open.
    pub ended_at: Option<Timestamp>,
    /// Pages done within the last minutes, by the time of their request.
    pub lately: u64,
    /// Seconds since the first of these was requested; 0 without any.
    pub lately_seconds: f64,
}

/// The paces of a run's sources.
#[derive(Clone, Debug)]
pub struct RunPace {
    /// When the run was made.
    pub created_at: Timestamp,
    /// When this was read, on the database's clock.
    pub at: Timestamp,
    /// Source by source.
    pub sources: Vec<Pace>,
}

/// `lately` reaches so far back, in seconds.
const LATELY: f64 = 120.0;

const PACE: &str = "with own as (\
        select p.* from pagemill.run_partitions rp join pagemill.partitions p on coalesce(p.root, p.id) = rp.partition where rp.run = $1), \
    known as (\
        select w.source, w.stream, w.account, k.per_day from (select distinct source, stream, account from own \
            where state = 'open' and total is null) w \
        cross join lateral (select p.total::float8 / (p.to_date - p.from_date + 1) as per_day from pagemill.partitions p \
            where p.source = w.source and p.stream = w.stream and p.account = w.account \
                and p.state = 'sealed' and p.total is not null and p.parent is null \
            order by p.from_date desc, p.to_date desc, p.id desc limit 1) k), \
    missing as (\
        select o.source, o.state, o.closed_at, case when o.state = 'open' then greatest(coalesce( \
            o.last_page - o.first_page + 1, \
            case when o.subset_first is null then ceil(k.per_day * (o.to_date - o.from_date + 1) / o.page_size) end, \
            1)::bigint - o.done - o.dead, 0) end as pages \
        from own o left join known k on k.source = o.source and k.stream = o.stream and k.account = o.account), \
    lately as (\
        select o.source, sum(g.pages)::bigint as pages, extract(epoch from clock_timestamp() - min(g.first))::float8 as seconds \
        from own o cross join lateral (select count(*) as pages, min(requested_at) as first from pagemill.pages g \
            where g.partition = o.id and g.state = 'done' and g.requested_at > clock_timestamp() - make_interval(secs => $2)) g \
        where g.pages > 0 group by o.source) \
    select m.source, count(*) filter (where m.state = 'open') as open, coalesce(sum(m.pages), 0)::bigint as remaining, \
        max(m.closed_at) as ended_at, coalesce(max(l.pages), 0) as lately, coalesce(max(l.seconds), 0) as lately_seconds \
    from missing m left join lately l on l.source = m.source group by m.source order by m.source";

impl Runs {
    /// The pace of a run, and the pages that remain.
    ///
    /// # Errors
    /// [`crate::error::StoreErrorKind::Invalid`] if there is no such run.
    pub async fn pace(&self, run: i64) -> Result<RunPace, StoreError> {
        let client = self.database.client().await?;
        let row = client
            .query_opt(
                "select created_at, clock_timestamp() as now from pagemill.runs where id = $1",
                &[&run],
            )
            .await?
            .ok_or_else(|| none_found(&format!("run {run}")))?;
        let sources = client.query(PACE, &[&run, &LATELY]).await?;
        let sources = sources
            .iter()
            .map(|r| {
                let count = |name| r.get::<_, i64>(name) as u64;
                let open = count("open");
                let ended_at = r.get::<_, Option<Timestamp>>("ended_at").filter(|_| open == 0);
                Pace {
                    source: r.get("source"),
                    open,
                    remaining: count("remaining"),
                    ended_at,
                    lately: count("lately"),
                    lately_seconds: r.get("lately_seconds"),
                }
            })
            .collect();
        Ok(RunPace { created_at: row.get("created_at"), at: row.get("now"), sources })
    }
}
