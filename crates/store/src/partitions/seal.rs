//! The proof of completeness. Where it fails and fetching again may mend it, pages are ordered anew,
//! in bounded rounds, before a partition is closed as incomplete.

use deadpool_postgres::Transaction;
use pagemill_core::{
    CursorLoop, IncompleteReason, PartsFacts, SealFacts, SumDiffers, Verdict, verdict, verdict_of_parts,
};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::Partitions;
use super::{
    missing::delete_missing,
    quality,
    repair::{repair, take_total},
    rescue::RescueOrder,
    row::{PARTITION_COLUMNS, PartitionRow},
};
use crate::{DataTable, StoreError, retry::with_retry};

/// How a partition that has ended went on.
#[derive(Clone, Debug)]
pub enum Sealing {
    /// Closed: sealed, or incomplete and why.
    Closed(SealReport),
    /// The proof failed: these pages are to be fetched again, under new generations.
    Repair(RescueOrder, IncompleteReason),
}

/// How a partition was closed.
#[derive(Clone, Debug)]
pub struct SealReport {
    /// Which.
    pub partition: PartitionRow,
    /// Its rows, as the API states them or as they were counted.
    pub rows: u64,
    /// Sealed, or incomplete and why.
    pub verdict: Verdict,
    /// What is odd about the data although it is complete.
    pub warnings: Vec<String>,
}

/// What the done pages of a partition say; `$2`, `$3` are its first and last page. Sorting the keys
/// to count them takes a quarter of the time that hashing and keeping them takes.
const PAGES: &str = "with pages as (\
        select * from pagemill.pages where partition = $1 and page between $2 and $3), \
    done as (select * from pages where state = 'done'), \
    newest as (select total from done where total is not null order by requested_at desc limit 1), \
    counted as (select count(*) as keys, count(distinct key) as distinct_keys from (select unnest(keys) as key from done) k) \
    select (select keys from counted), (select distinct_keys from counted), (select total from newest), \
           (select count(*) from done where total <> (select total from newest)) as moved, count(*) filter (where state = 'dead') as dead, \
           (select sum(content_hash)::text from done) as content_hash, sum(requests)::bigint as requests \
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

impl Partitions {
    /// Closes a partition if its every page is done or dead and all its parts are closed: sealed with
    /// its proof, or incomplete with the reason. Where fetching pages again may mend it, and fewer
    /// than `rounds` rounds of that have been, it stays open and the suspect pages are ordered anew.
    /// Idempotent: `None` when it is closed already or has pages left.
    ///
    /// `table` is its stream's, for what the definition says of sums and missing rows; without it a
    /// partition is closed as it is.
    pub async fn seal(
        &self,
        partition: i64,
        table: Option<&DataTable>,
        rounds: u32,
    ) -> Result<Option<Sealing>, StoreError> {
        with_retry(|| self.try_seal(partition, table, rounds)).await
    }

    async fn try_seal(
        &self,
        partition: i64,
        table: Option<&DataTable>,
        rounds: u32,
    ) -> Result<Option<Sealing>, StoreError> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        // Counting ten million keys takes its time, and sorts better in memory.
        tx.batch_execute("set local statement_timeout = '10min'; set local work_mem = '64MB'").await?;
        let sql = format!(
            "select {PARTITION_COLUMNS} from pagemill.partitions p where p.id = $1 and p.state = 'open' for update"
        );
        let Some(row) = tx.query_opt(&sql, &[&partition]).await? else {
            return Ok(None);
        };
        let mut partition = PartitionRow::from_row(&row);
        if !partition.progress.has_ended() {
            return Ok(None);
        }
        let proof = match partition.parts {
            Some(_) => Proof::of_parts(&tx, &partition, table).await?,
            None => Some(Proof::of_pages(&tx, &partition).await?),
        };
        let Some(mut proof) = proof else { return Ok(None) };
        // More pages were asked for than there are, by a total that was the API's word only for a while.
        if proof.total < partition.progress.total && partition.progress.dead == 0 {
            partition = take_total(&tx, partition.id, proof.total).await?;
            proof = Proof::of_pages(&tx, &partition).await?;
        }
        if let Verdict::Incomplete(reason) = &proof.verdict
            && reason.is_repairable()
            && partition.parts.is_none()
            && partition.repairs < rounds
        {
            let last_round = partition.repairs + 1 == rounds;
            let order = repair(&tx, &partition, proof.total, reason, last_round).await?;
            fail::fail_point!("before-repair");
            let reason = reason.clone();
            tx.commit().await?;
            return Ok(Some(Sealing::Repair(order, reason)));
        }
        if let (Verdict::Sealed, Some(table)) = (&proof.verdict, table)
            && table.rules.deletes_missing
            && partition.parent.is_none()
        {
            let deleted = delete_missing(&tx, table, &partition).await?;
            proof.facts["deleted_rows"] = deleted.into();
        }
        let (state, reason) = match &proof.verdict {
            Verdict::Sealed => ("sealed", None),
            Verdict::Incomplete(reason) => ("incomplete", Some(reason.to_string())),
        };
        fail::fail_point!("inside-seal");
        tx.execute(
            "update pagemill.partitions set state = $2, reason = $3, proof = $4, total = coalesce(total, $5), closed_at = now(), \
                 progressed_at = now() where id = $1",
            &[&partition.id, &state, &reason, &proof.facts, &proof.counted],
        )
        .await?;
        tx.commit().await?;
        let Proof { rows, verdict, warnings, .. } = proof;
        Ok(Some(Sealing::Closed(SealReport { partition, rows, verdict, warnings })))
    }
}

/// What a partition is closed with.
struct Proof {
    verdict: Verdict,
    /// The API's latest word on the total.
    total: Option<i64>,
    /// Rows counted, of a sealed partition whose API states no total.
    counted: Option<i64>,
    rows: u64,
    warnings: Vec<String>,
    /// As the ledger keeps it.
    facts: Value,
}

impl Proof {
    async fn of_pages(tx: &Transaction<'_>, partition: &PartitionRow) -> Result<Self, StoreError> {
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
        };
        let verdict = verdict(&facts);
        let quality = quality::of_pages(tx, partition, last).await?;
        let warnings = quality.warnings(tx, partition, facts.distinct_keys).await?;
        let sums: serde_json::Map<String, Value> = sums
            .iter()
            .filter_map(|r| Some((r.get("name"), r.get::<_, Option<&str>>("stored")?.into())))
            .collect();
        let json = json!({
            "total": total, "pages": progress.done, "keys": facts.keys, "distinct_keys": facts.distinct_keys,
            "pages_moved": facts.pages_moved, "pages_dead": facts.pages_dead,
            "content_hash": content_hash(row.get("content_hash")), "requests": row.get::<_, Option<i64>>("requests"), "repairs": partition.repairs,
            "sums": sums, "quality": quality.to_json(), "warnings": warnings,
        });
        let rows = facts.distinct_keys;
        let counted = (verdict == Verdict::Sealed && total.is_none()).then_some(rows as i64);
        Ok(Self { verdict, total, counted, rows, warnings, facts: json })
    }

    /// `None` while a part is open.
    async fn of_parts(
        tx: &Transaction<'_>,
        partition: &PartitionRow,
        table: Option<&DataTable>,
    ) -> Result<Option<Self>, StoreError> {
        let total = partition.progress.total.unwrap_or(0);
        let parts = tx
            .query(
                "select state, total, proof, reason, part, from_date, to_date from pagemill.partitions where parent = $1 order by id",
                &[&partition.id],
            )
            .await?;
        let states: Vec<&str> = parts.iter().map(|r| r.get("state")).collect();
        if states.contains(&"open") {
            return Ok(None);
        }
        let mut facts = PartsFacts {
            total: total as u64,
            parts_total: parts.iter().filter_map(|r| r.get::<_, Option<i64>>("total")).sum::<i64>() as u64,
            parts: parts.len() as u64,
            ..PartsFacts::default()
        };
        let mut incomplete = parts.iter().filter(|r| r.get::<_, &str>("state") != "sealed");
        if let Some(first) = incomplete.next() {
            let named = pagemill_core::Slice {
                from: first.get("from_date"),
                to: first.get("to_date"),
                part: super::row::part_from(&first.get("part")),
                ..partition.slice.clone()
            };
            let reason: Option<&str> = first.get("reason");
            facts.incomplete =
                Some((1 + incomplete.count() as u64, format!("{named}: {}", reason.unwrap_or("incomplete"))));
        }
        let proofs: Vec<Value> =
            parts.iter().map(|r| r.get::<_, Option<Value>>("proof").unwrap_or_default()).collect();
        if let Some(table) = table {
            facts.sums_differ = sums_of_parts(tx, partition, table, &proofs).await?;
        }
        let verdict = match partition.parts {
            Some(0) => Verdict::Incomplete(IncompleteReason::TooDeep {
                total: facts.total,
                window: table.and_then(|t| t.rules.window).map_or(0, u64::from),
            }),
            _ => verdict_of_parts(&facts),
        };
        let added = |name: &str| proofs.iter().filter_map(|p| p[name].as_i64()).sum::<i64>();
        let hashes = proofs.iter().filter_map(|p| u64::from_str_radix(p["content_hash"].as_str()?, 16).ok());
        let warnings: Vec<String> = proofs
            .iter()
            .flat_map(|p| p["warnings"].as_array().into_iter().flatten())
            .filter_map(|w| w.as_str().map(str::to_owned))
            .collect();
        let json = json!({
            "total": total, "parts": facts.parts, "parts_total": facts.parts_total, "pages": added("pages") + 1,
            "keys": added("keys"), "distinct_keys": added("distinct_keys"), "requests": added("requests") + 1,
            "content_hash": format!("{:016x}", hashes.fold(0, u64::wrapping_add)),
            "repairs": added("repairs"), "warnings": warnings,
        });
        let rows = facts.parts_total;
        Ok(Some(Self { verdict, total: Some(total), counted: None, rows, warnings, facts: json }))
    }
}

/// A stated sum that the stored one does not equal; `1.50` is `1.5`.
fn differs(metric: String, stated: Option<&str>, stored: Option<&str>) -> Option<SumDiffers> {
    let (stated, stored) = (stated?, stored.unwrap_or("0"));
    let number = |text: &str| text.parse::<Decimal>().ok();
    let same = stated == stored || (number(stated).is_some() && number(stated) == number(stored));
    (!same).then(|| SumDiffers { metric, stated: stated.to_owned(), stored: stored.to_owned() })
}

/// Where the whole's first page states sums, the parts' sums must add up to them.
async fn sums_of_parts(
    tx: &Transaction<'_>,
    partition: &PartitionRow,
    table: &DataTable,
    proofs: &[Value],
) -> Result<Vec<SumDiffers>, StoreError> {
    let first = partition.progress.first_page as i32;
    let row = tx
        .query_opt(
            "select facts->'stated' as stated from pagemill.pages where partition = $1 and page = $2",
            &[&partition.id, &first],
        )
        .await?;
    let stated: Option<Value> = row.and_then(|r| r.get("stated"));
    let mut differ = Vec::new();
    for name in table.rules.sums.iter().map(|&i| &table.shape.columns[i].name) {
        let Some(stated) = stated.as_ref().and_then(|s| s[name].as_str()) else { continue };
        let stored: Decimal =
            proofs.iter().filter_map(|p| p["sums"][name].as_str()?.parse::<Decimal>().ok()).sum();
        differ.extend(differs(name.clone(), Some(stated), Some(&stored.to_string())));
    }
    Ok(differ)
}

/// The sum of the pages' content hashes, as 64 bits in hexadecimal.
pub(crate) fn content_hash(sum: Option<&str>) -> String {
    let sum: i128 = sum.and_then(|sum| sum.parse().ok()).unwrap_or(0);
    format!("{:016x}", sum as i64)
}
