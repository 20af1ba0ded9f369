//! Facts of a partition that has ended, and what they prove.

mod parts;

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use pagemill_core::{CursorLoop, SealFacts, SumDiffers, Verdict, verdict};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};
use tokio_postgres::Row;

use super::{outside, quality};
use crate::{error::StoreError, partitions::PartitionRow, table::DataTable};

/// What the done pages of a partition say; `$2`, `$3` are its first and last page. Sorting the keys
/// to count them takes a quarter of the time that hashing and keeping them takes.
const PAGES: &str = "with pages as (\
        select * from pagemill.pages where partition = $1 and page between $2 and $3), \
    done as (select * from pages where state = 'done'), \
    newest as (select total from done where total is not null order by requested_at desc limit 1), \
    counted as (select count(*) as keys, count(distinct key) as distinct_keys from (select unnest(key_hashes) as key from done) k) \
    select (select keys from counted), (select distinct_keys from counted), (select total from newest), \
           (select count(*) from done where total <> (select total from newest)) as moved, count(*) filter (where state = 'dead') as dead, \
           (select sum(content_hash)::text from done) as content_hash, sum(requests)::bigint as requests, \
           (select case when count(*) = count(decode_hash) and min(decode_hash) = max(decode_hash) then min(decode_hash) end from done) as decode_hash, \
           (select min(requested_at) from done) as requested_from, (select coalesce(max(requested_at) > now() + interval '1 s', false) from done) as is_ahead \
    from pages";

const CURSOR_LOOP: &str = "select min(page) as earlier, max(page) as page from pagemill.pages where partition = $1 and page between $2 and $3 \
    and next_hash is not null group by next_hash having count(*) > 1 order by max(page) limit 1";

/// The API's latest word on its sums, and the sums over the stored pages.
const SUMS: &str = "with pages as (\
        select facts, requested_at from pagemill.pages where partition = $1 and page between $2 and $3 and state = 'done'), \
    stored as (select name, sum(value::numeric) as value from pages, jsonb_each_text(facts->'sums') as s(name, value) group by name), \
    stated as (select name, value::numeric as value from jsonb_each_text(\
        (select facts->'stated' from pages where facts ? 'stated' order by requested_at desc limit 1)) as s(name, value)) \
    select name, stated.value::text as stated, stored.value::text as stored from stored full join stated using (name) order by name";

/// What a partition is closed with.
pub(super) struct Proof {
    pub(super) verdict: Verdict,
    /// The API's latest word on the total.
    pub(super) total: Option<i64>,
    /// Rows counted, dropped ones included, of a sealed partition whose API states no total.
    pub(super) counted: Option<i64>,
    /// Rows stored.
    pub(super) rows: u64,
    pub(super) warnings: Vec<String>,
    /// The decode hash of all pages; `None` where they were not all read by one.
    pub(super) decode_hash: Option<i64>,
    /// The earliest request.
    pub(super) requested_from: Option<Timestamp>,
    /// True if a page was requested at a time that has not come yet: the database's clock has stepped back.
    pub(super) is_ahead: bool,
    /// As the ledger keeps it.
    pub(super) facts: Value,
}

impl Proof {
    pub(super) async fn of_pages(
        tx: &Transaction<'_>,
        partition: &PartitionRow,
        table: Option<&DataTable>,
    ) -> Result<Self, StoreError> {
        let progress = &partition.progress;
        let last = progress.last_page.map_or(i32::MAX, |last| last as i32);
        let range: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&partition.id, &(progress.first_page as i32), &last];
        let row = tx.query_one(PAGES, &range).await?;
        let count = |name| row.get::<_, i64>(name) as u64;
        let total: Option<i64> = row.get::<_, Option<i64>>("total").or(progress.total);
        let cursor_loop = match partition.chained {
            true => tx.query_opt(CURSOR_LOOP, &range).await?.map(|r| CursorLoop {
                page: r.get::<_, i32>("page") as u32,
                earlier: r.get::<_, i32>("earlier") as u32,
            }),
            false => None,
        };
        let sums = tx.query(SUMS, &range).await?;
        let facts = SealFacts {
            total: total.map(|total| total as u64),
            keys: count("keys"),
            distinct_keys: count("distinct_keys"),
            pages_moved: count("moved"),
            pages_dead: count("dead"),
            cursor_loop,
            sums_differ: sums
                .iter()
                .filter_map(|r| differs(r.get("name"), r.get("stated"), r.get("stored")))
                .collect(),
            subset: partition.subset,
            outside: outside::of_pages(tx, &range, table).await?,
        };
        let verdict = verdict(&facts);
        let quality = quality::of_pages(tx, partition, last).await?;
        let mut warnings = quality.warnings(tx, partition, facts.distinct_keys).await?;
        warnings.extend(outside::warning(partition, facts.outside.as_ref()));
        let json = json!({
            "total": total, "pages": progress.done, "keys": facts.keys, "distinct_keys": facts.distinct_keys,
            "pages_moved": facts.pages_moved, "pages_dead": facts.pages_dead,
            "content_hash": content_hash(row.get("content_hash")), "requests": row.get::<_, Option<i64>>("requests"), "repair_rounds": partition.repair_rounds,
            "sums": stored_sums(&sums), "outside": outside::to_json(facts.outside.as_ref()), "quality": quality.to_json(), "warnings": warnings,
        });
        let rows = facts.distinct_keys;
        let counted = rows + facts.outside.as_ref().map_or(0, |outside| outside.rows);
        let counted = (verdict == Verdict::Complete && total.is_none()).then_some(counted as i64);
        Ok(Self {
            verdict,
            total,
            counted,
            rows,
            warnings,
            decode_hash: row.get("decode_hash"),
            requested_from: row.get("requested_from"),
            is_ahead: row.get("is_ahead"),
            facts: json,
        })
    }
}

/// The sums over the stored rows, as the certificate keeps them.
fn stored_sums(sums: &[Row]) -> Map<String, Value> {
    let stored = |r: &Row| Some((r.get("name"), r.get::<_, Option<&str>>("stored")?.into()));
    sums.iter().filter_map(stored).collect()
}

/// A stated sum that the stored one does not equal; `1.50` is `1.5`.
fn differs(metric: String, stated: Option<&str>, stored: Option<&str>) -> Option<SumDiffers> {
    let (stated, stored) = (stated?, stored.unwrap_or("0"));
    let number = |text: &str| text.parse::<Decimal>().ok();
    let same = stated == stored || (number(stated).is_some() && number(stated) == number(stored));
    (!same).then(|| SumDiffers { metric, stated: stated.to_owned(), stored: stored.to_owned() })
}

/// The sum of the pages' content hashes, as 64 bits in hexadecimal.
fn content_hash(sum: Option<&str>) -> String {
    let sum: i128 = sum.and_then(|sum| sum.parse().ok()).unwrap_or(0);
    format!("{:016x}", sum as i64)
}
