//! Warnings on a seal: data that is complete, but unlike that of earlier days.

use deadpool_postgres::Transaction;
use serde_json::{Value, json};

use crate::error::StoreError;
use crate::partitions::PartitionRow;

/// Facts of a partition's columns, collected from its pages.
#[derive(Debug, Default)]
pub(super) struct Quality {
    /// Columns with no value but NULL and zero.
    blank: Vec<String>,
    /// Columns whose field no row had.
    absent: Vec<String>,
    /// Fields that no column takes.
    unmapped: Vec<String>,
    /// Values that could not be read: column, count, a sample.
    cast_failures: Vec<(String, i64, String)>,
}

/// Number of earlier partitions that are compared.
const EARLIER: i64 = 7;

/// A row count is remarkable if it is so many times the usual, or so many times less,
const FACTOR: f64 = 2.0;
/// and differs by so many rows.
const ROWS: f64 = 20.0;

const LISTS: &str = "with pages as (\
        select facts, cast_failures from pagemill.pages where partition = $1 and page between $2 and $3 and state = 'done' and rows > 0) \
    select 'blank' as list, name, null::bigint as count, null::text as sample from pages, jsonb_array_elements_text(facts->'blank') as name \
        group by name having count(*) = (select count(*) from pages) \
    union all select 'absent', name, null, null from pages, jsonb_array_elements_text(facts->'absent') as name \
        group by name having count(*) = (select count(*) from pages) \
    union all select 'unmapped', name, null, null from pages, jsonb_array_elements_text(facts->'unmapped') as name group by name \
    union all select 'cast_failures', c->>'column', sum((c->>'count')::bigint)::bigint, min(c->>'sample') \
        from pages, jsonb_array_elements(cast_failures) as c group by c->>'column' \
    order by list, name";

pub(super) async fn of_pages(
    tx: &Transaction<'_>,
    partition: &PartitionRow,
    last: i32,
) -> Result<Quality, StoreError> {
    let first = partition.progress.first_page as i32;
    let mut quality = Quality::default();
    for row in tx.query(LISTS, &[&partition.id, &first, &last]).await? {
        let name: String = row.get("name");
        match row.get::<_, &str>("list") {
            "blank" => quality.blank.push(name),
            "absent" => quality.absent.push(name),
            "unmapped" => quality.unmapped.push(name),
            _ => quality.cast_failures.push((
                name,
                row.get("count"),
                row.get::<_, Option<String>>("sample").unwrap_or_default(),
            )),
        }
    }
    Ok(quality)
}

impl Quality {
    /// As the proof keeps it.
    pub(super) fn to_json(&self) -> Value {
        json!({ "blank": self.blank, "absent": self.absent, "unmapped": self.unmapped })
    }

    /// One line each. `rows` are the partition's own; earlier partitions are those of the same stream
    /// and account that were sealed last.
    pub(super) async fn warnings(
        &self,
        tx: &Transaction<'_>,
        partition: &PartitionRow,
        rows: u64,
    ) -> Result<Vec<String>, StoreError> {
        let mut warnings: Vec<String> = (self.cast_failures.iter())
            .map(|(column, count, sample)| {
                format!("{column}: {count} values could not be read and are NULL, such as \"{sample}\"")
            })
            .collect();
        if partition.parent.is_some() {
            return Ok(warnings);
        }
        let s = &partition.slice;
        let earlier = tx
            .query(
                "select from_date::text as day, (proof->>'distinct_keys')::bigint as rows, proof->'quality' as quality from pagemill.partitions \
                 where source = $1 and stream = $2 and account = $3 and state = 'sealed' and parent is null and id <> $4 \
                   and proof->'quality' is not null order by from_date desc, id desc limit $5",
                &[&s.source, &s.stream, &s.account, &partition.id, &EARLIER],
            )
            .await?;
        let earlier: Vec<Earlier> = (earlier.iter())
            .map(|r| Earlier {
                day: r.get("day"),
                rows: r.get::<_, Option<i64>>("rows").unwrap_or(0),
                quality: r.get("quality"),
            })
            .collect();
        warnings.extend(self.against(&earlier, rows));
        Ok(warnings)
    }

    fn against(&self, earlier: &[Earlier], rows: u64) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut counts: Vec<i64> = earlier.iter().map(|e| e.rows).collect();
        counts.sort_unstable();
        if let (3.., Some(&usual)) = (counts.len(), counts.get(counts.len() / 2)) {
            let (now, usual) = (rows as f64, usual as f64);
            let far = now * FACTOR < usual || now > usual * FACTOR;
            if far && (now - usual).abs() >= ROWS {
                warnings.push(format!("{rows} rows, where {usual} are usual"));
            }
        }
        let filled: Vec<&Earlier> = earlier.iter().filter(|e| e.rows > 0).collect();
        let Some(newest) = filled.first().filter(|_| rows > 0) else { return warnings };
        for column in &self.absent {
            if !newest.lists("absent", column) {
                warnings.push(format!("{column}: no longer comes; it came on {}", newest.day));
            }
        }
        for column in self.blank.iter().filter(|column| !self.absent.contains(column)) {
            let carried: Vec<&&Earlier> =
                filled.iter().filter(|e| !e.lists("blank", column) && !e.lists("absent", column)).collect();
            if let (Some(last), true) = (carried.first(), 2 * carried.len() >= filled.len()) {
                warnings.push(format!("{column}: all zero or NULL; it carried values on {}", last.day));
            }
        }
        for field in self.unmapped.iter().filter(|field| !filled.iter().any(|e| e.lists("unmapped", field))) {
            warnings.push(format!("{field}: a new field that no column takes"));
        }
        warnings
    }
}

/// A partition that was sealed before.
struct Earlier {
    day: String,
    rows: i64,
    quality: Value,
}

impl Earlier {
    fn lists(&self, list: &str, name: &str) -> bool {
        self.quality[list].as_array().is_some_and(|names| names.iter().any(|n| n == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn earlier(day: &str, rows: i64, blank: &[&str]) -> Earlier {
        Earlier {
            day: day.into(),
            rows,
            quality: json!({ "blank": blank, "absent": [], "unmapped": ["old"] }),
        }
    }

    #[test]
    fn differences_from_earlier_days_are_warnings() {
        let days = [earlier("d3", 100, &["likes"]), earlier("d2", 110, &[]), earlier("d1", 90, &["rare"])];
        let now = Quality {
            blank: vec!["likes".into(), "gone".into()],
            absent: vec!["gone".into()],
            unmapped: vec!["new".into(), "old".into()],
            cast_failures: vec![],
        };
        assert_eq!(
            now.against(&days, 30),
            [
                "30 rows, where 100 are usual",
                "gone: no longer comes; it came on d3",
                "likes: all zero or NULL; it carried values on d2",
                "new: a new field that no column takes",
            ]
        );
        assert!(
            Quality { unmapped: vec!["old".into()], ..Quality::default() }.against(&days, 120).is_empty()
        );
    }

    #[test]
    fn a_first_day_has_nothing_to_be_held_against() {
        let now = Quality { blank: vec!["likes".into()], unmapped: vec!["new".into()], ..Quality::default() };
        assert!(now.against(&[], 100).is_empty());
        assert!(
            now.against(&[earlier("d1", 0, &[])], 100).is_empty(),
            "an empty day says nothing of columns"
        );
    }
}
