//! The proof of a partition that was split: its parts are proved, and add up to it.

use deadpool_postgres::Transaction;
use pagemill_core::{IncompleteReason, PartsFacts, SumDiffers, Verdict, verdict_of_parts};
use serde_json::{Map, Value, json};
use tokio_postgres::Row;

use super::{super::outside, Proof, differs};
use crate::{
    error::StoreError,
    partitions::{PartitionRow, part_from},
    table::DataTable,
};

const PARTS_AHEAD: &str = "select exists (select from pagemill.partitions p join pagemill.pages g on g.partition = p.id \
    where p.root = $1 and g.state = 'done' and g.requested_at > now() + interval '1 s') as is_ahead";

/// The sums of the closed parts, added up. A part that is split itself has the sums of its own parts.
const SUMS_OF_PARTS: &str = "select name, sum(value::numeric)::text as value \
    from pagemill.partitions p, jsonb_each_text(p.proof->'sums') as s(name, value) where p.parent = $1 group by name order by name";

/// Keys that come in more than one part of a whole.
const REPEATED: &str = "select count(*) - count(distinct key) as repeated from (\
        select unnest(g.key_hashes) as key from pagemill.partitions p join pagemill.pages g on g.partition = p.id \
        where p.root = $1 and p.parts is null and g.state = 'done') k";

impl Proof {
    /// `None` while a part is open.
    pub(in super::super) async fn of_parts(
        tx: &Transaction<'_>,
        partition: &PartitionRow,
        table: Option<&DataTable>,
    ) -> Result<Option<Self>, StoreError> {
        let total = partition.progress.total.unwrap_or(0);
        let parts = tx
            .query(
                "select state, total, proof, reason, part, from_date, to_date, decode_hash, requested_from from pagemill.partitions where parent = $1 order by id",
                &[&partition.id],
            )
            .await?;
        let states: Vec<&str> = parts.iter().map(|r| r.get("state")).collect();
        if states.contains(&"open") {
            return Ok(None);
        }
        let proofs: Vec<Value> =
            parts.iter().map(|r| r.get::<_, Option<Value>>("proof").unwrap_or_default()).collect();
        let sums = sums_of_parts(tx, partition).await?;
        let facts = facts_of_parts(tx, partition, table, &parts, &sums).await?;
        let verdict = match partition.parts {
            Some(0) => Verdict::Incomplete(IncompleteReason::TooDeep {
                total: facts.total,
                window: table.and_then(|t| t.rules.window).map_or(0, u64::from),
            }),
            _ => verdict_of_parts(&facts),
        };
        let outside = outside::of_parts(&proofs, table);
        let mut warnings: Vec<String> = proofs
            .iter()
            .flat_map(|p| p["warnings"].as_array().into_iter().flatten())
            .filter_map(|w| w.as_str().map(str::to_owned))
            .collect();
        warnings.extend(outside::warning(partition, outside.as_ref()));
        let mut certificate = added_up(&proofs);
        certificate["total"] = total.into();
        certificate["parts"] = facts.parts.into();
        certificate["parts_total"] = facts.parts_total.into();
        certificate["sums"] = sums.into();
        certificate["outside"] = outside::to_json(outside.as_ref());
        certificate["warnings"] = json!(warnings);
        let decode_hash: Option<i64> = parts.first().and_then(|part| part.get("decode_hash"));
        let same = parts.iter().all(|part| part.get::<_, Option<i64>>("decode_hash") == decode_hash);
        Ok(Some(Self {
            verdict,
            total: Some(total),
            counted: None,
            rows: facts.parts_total.saturating_sub(outside.map_or(0, |outside| outside.rows)),
            warnings,
            decode_hash: decode_hash.filter(|_| same),
            requested_from: parts.iter().filter_map(|part| part.get("requested_from")).min(),
            is_ahead: tx.query_one(PARTS_AHEAD, &[&partition.id]).await?.get("is_ahead"),
            facts: certificate,
        }))
    }
}

async fn facts_of_parts(
    tx: &Transaction<'_>,
    partition: &PartitionRow,
    table: Option<&DataTable>,
    parts: &[Row],
    sums: &Map<String, Value>,
) -> Result<PartsFacts, StoreError> {
    let totals = parts.iter().filter_map(|r| r.get::<_, Option<i64>>("total"));
    let mut facts = PartsFacts {
        total: partition.progress.total.unwrap_or(0) as u64,
        parts_total: totals.sum::<i64>() as u64,
        parts: parts.len() as u64,
        incomplete: incomplete_parts(partition, parts),
        ..PartsFacts::default()
    };
    if let Some(table) = table {
        facts.sums_differ = differences(tx, partition, table, sums).await?;
    }
    if partition.parent.is_none() {
        let repeated: i64 = tx.query_one(REPEATED, &[&partition.id]).await?.get("repeated");
        facts.repeated_keys = repeated as u64;
    }
    Ok(facts)
}

/// What the parts' certificates count. The whole's first page is one more.
fn added_up(proofs: &[Value]) -> Value {
    let added = |name: &str| proofs.iter().filter_map(|p| p[name].as_i64()).sum::<i64>();
    let hashes = proofs.iter().filter_map(|p| u64::from_str_radix(p["content_hash"].as_str()?, 16).ok());
    json!({
        "pages": added("pages") + 1, "requests": added("requests") + 1, "keys": added("keys"),
        "distinct_keys": added("distinct_keys"), "repair_rounds": added("repair_rounds"),
        "content_hash": format!("{:016x}", hashes.fold(0, u64::wrapping_add)),
    })
}

/// How many parts are incomplete, and why the first of them is.
fn incomplete_parts(partition: &PartitionRow, parts: &[Row]) -> Option<(u64, String)> {
    let mut incomplete = parts.iter().filter(|r| !matches!(r.get::<_, &str>("state"), "proved" | "sealed"));
    let first = incomplete.next()?;
    let slice = pagemill_core::Slice {
        from: first.get("from_date"),
        to: first.get("to_date"),
        part: part_from(&first.get("part")),
        ..partition.slice.clone()
    };
    let reason = first.get::<_, Option<&str>>("reason").unwrap_or("incomplete");
    Some((1 + incomplete.count() as u64, format!("{slice}: {reason}")))
}

/// The parts' sums, added up by PostgreSQL, whose decimals lose no digit.
async fn sums_of_parts(
    tx: &Transaction<'_>,
    partition: &PartitionRow,
) -> Result<Map<String, Value>, StoreError> {
    let rows = tx.query(SUMS_OF_PARTS, &[&partition.id]).await?;
    Ok(rows.iter().map(|r| (r.get("name"), r.get::<_, &str>("value").into())).collect())
}

/// Where the whole's first page states sums, the parts' sums must add up to them.
async fn differences(
    tx: &Transaction<'_>,
    partition: &PartitionRow,
    table: &DataTable,
    sums: &Map<String, Value>,
) -> Result<Vec<SumDiffers>, StoreError> {
    let first = partition.progress.first_page as i32;
    let row = tx
        .query_opt(
            "select facts->'stated' as stated from pagemill.pages where partition = $1 and page = $2",
            &[&partition.id, &first],
        )
        .await?;
    let stated: Option<Value> = row.and_then(|r| r.get("stated"));
    let names = table.rules.sums.iter().map(|&column| &table.shape.columns[column].name);
    let differ = names.filter_map(|name| {
        let stated = stated.as_ref()?[name].as_str();
        differs(name.clone(), stated, sums.get(name).and_then(Value::as_str))
    });
    Ok(differ.collect())
}
