mod load;
mod months;
mod replace;

use std::fmt::Write as _;

use pagemill_core::{DateScope, TableShape};
use serde_json::{Value, json};

use self::load::{copy_sql, stage_copy_sql, stage_insert_sql, unstage_sql, upsert_sql};
pub(crate) use self::{
    months::open_months,
    replace::{BACK, CHANGED, GONE, NEW},
};
use crate::{
    error::StoreError,
    error::StoreErrorKind,
    identifier::{check_identifier, literal, quote},
};

/// A stream's data table, with its SQL made once.
#[derive(Clone, Debug)]
pub struct DataTable {
    pub(crate) source: String,
    pub(crate) stream: String,
    pub(crate) shape: TableShape,
    pub(crate) key: Vec<usize>,
    /// `"schema"."table"`
    pub(crate) name: String,
    pub(crate) schema: String,
    /// Where rows wait until their attempt is proved: `pagemill."staged_table"`.
    pub(crate) staged: String,
    pub(crate) copy: String,
    pub(crate) upsert: String,
    pub(crate) stage_copy: String,
    pub(crate) stage_insert: String,
    pub(crate) unstage: String,
    pub(crate) decode_hash: Option<i64>,
    pub(crate) rules: StreamRules,
}

/// What a stream's definition says of its pages and rows beside their shape.
#[derive(Clone, Debug, Default)]
pub struct StreamRules {
    /// Pages follow one another, or there is but one: a page says whether it is the last.
    pub chained: bool,
    /// The additive metrics whose sums are proved: positions of columns.
    pub sums: Vec<usize>,
    /// The deepest row that the API shows.
    pub window: Option<u32>,
    /// Rows that a sealed pull no longer contains stay, marked by `_gone_at`.
    pub keeps_missing: bool,
    /// The API's totals and sums count rows of other days or accounts, which are dropped.
    pub drops_outside: bool,
    /// The table is partitioned by the months of its date.
    pub monthly: bool,
}

/// A column as the database has it.
struct Existing {
    name: String,
    sql_type: String,
    key: bool,
}

impl DataTable {
    /// The table of a stream, in this schema.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] for a name that is no plain identifier.
    pub fn new(schema: &str, source: &str, stream: &str, shape: &TableShape) -> Result<Self, StoreError> {
        let names = std::iter::once(&shape.name).chain(shape.columns.iter().map(|c| &c.name));
        for name in names {
            check_identifier(name)
                .map_err(|e| StoreError::new(StoreErrorKind::Invalid, format!("{source}.{stream}: {e}")))?;
        }
        let name = format!("{}.{}", quote(schema), quote(&shape.name));
        let staged = format!("pagemill.{}", quote(&format!("staged_{}", shape.name)));
        Ok(Self {
            source: source.to_owned(),
            stream: stream.to_owned(),
            key: shape.key(),
            shape: shape.clone(),
            schema: schema.to_owned(),
            copy: copy_sql(&name, shape),
            upsert: upsert_sql(&name, shape),
            stage_copy: stage_copy_sql(&staged, shape),
            stage_insert: stage_insert_sql(&staged, shape),
            unstage: unstage_sql(&staged),
            name,
            staged,
            decode_hash: None,
            rules: StreamRules::default(),
        })
    }

    /// The table under a stream's rules.
    pub fn ruled(self, rules: StreamRules) -> Self {
        Self { rules, ..self }
    }

    /// The table as a definition of this decode hash fills it: the hash is stored with the responses.
    pub fn decoded_by(self, decode_hash: i64) -> Self {
        Self { decode_hash: Some(decode_hash), ..self }
    }

    /// The stream that fills it.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Quoted and qualified, for SQL.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True if each page names the next, or there is but one page.
    pub fn is_chained(&self) -> bool {
        self.rules.chained
    }

    /// The deepest row that the API shows.
    pub fn window(&self) -> Option<u32> {
        self.rules.window
    }

    /// Positions of the key's columns.
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// Which rows a slice has: a condition with `$1` = account (text), `$2`, `$3` = dates.
    pub(crate) fn slice_condition(&self) -> String {
        let present = if self.rules.keeps_missing { " and _gone_at is null" } else { "" };
        format!("{}{present}", self.slice_condition_of(""))
    }

    /// As [`DataTable::slice_condition`], with a prefix before the columns, and with the rows that are marked as gone.
    fn slice_condition_of(&self, prefix: &str) -> String {
        let account = match self.shape.account_column() {
            // The parameter is cast, not the column: so an index serves.
            Some(column) => {
                format!("{prefix}{} = $1::text::{}", quote(&column.name), column.kind.sql())
            }
            None => "$1::text is not null".to_owned(),
        };
        match &self.shape.dates {
            DateScope::Within(column) => {
                format!("{account} and {prefix}{} between $2::date and $3::date", quote(column))
            }
            DateScope::Exact { from, to } => {
                let (from, to) = (quote(from), quote(to));
                format!("{account} and {prefix}{from} = $2::date and {prefix}{to} = $3::date")
            }
            DateScope::Whole => format!("{account} and $2::date <= $3::date"),
        }
    }

    /// What `pagemill.streams` records: a consumer refuses to start on anything else.
    pub(crate) fn recorded_shape(&self) -> Value {
        let columns: Vec<Value> = self
            .shape
            .columns
            .iter()
            .map(|c| json!({"name": c.name, "type": c.kind.sql(), "key": c.key}))
            .collect();
        let mut shape = json!({"table": self.name, "columns": columns});
        if self.rules.monthly {
            shape["partition_by"] = "month".into();
        }
        if self.rules.keeps_missing {
            shape["missing_rows"] = "keep".into();
        }
        shape
    }

    /// Creates the table, or adds the columns that the definition gained; makes the view of sealed
    /// partitions. Returns what was done, in words, or an empty list.
    pub(crate) async fn migrate(
        &self,
        tx: &tokio_postgres::Transaction<'_>,
    ) -> Result<Vec<String>, StoreError> {
        let existing = self.existing(tx).await?;
        let mut done = Vec::new();
        if existing.is_empty() {
            tx.batch_execute(&self.create_sql()).await?;
            // One of a table that was dropped may have other types.
            tx.batch_execute(&format!("drop table if exists {}", self.staged)).await?;
            done.push(format!("created table {}", self.name));
        } else {
            self.check_partitioned(tx).await?;
            for column in self.missing(&existing)? {
                let c = &self.shape.columns[column];
                tx.batch_execute(&format!(
                    "alter table {} add column {} {}",
                    self.name,
                    quote(&c.name),
                    c.kind.sql()
                ))
                .await?;
                done.push(format!("added column {} to {}", quote(&c.name), self.name));
            }
            if self.rules.keeps_missing && !existing.iter().any(|column| column.name == GONE_AT) {
                tx.batch_execute(&format!("alter table {} add column {GONE_AT} timestamptz", self.name))
                    .await?;
                done.push(format!("added column {GONE_AT} to {}", self.name));
            }
        }
        if !done.is_empty() {
            tx.batch_execute(&self.staged_sql()).await?;
            tx.batch_execute(&self.view_sql()).await?;
        }
        Ok(done)
    }

    /// Creates the table of staged rows, or adds the columns that the data table gained. Its rows have no key: a key that
    /// comes on two pages is for the proof to find.
    fn staged_sql(&self) -> String {
        let columns: Vec<String> =
            self.shape.columns.iter().map(|c| format!(", {} {}", quote(&c.name), c.kind.sql())).collect();
        let mut sql = format!(
            "create table if not exists {0} (_partition bigint not null, _page integer not null{1}); \
             create index if not exists {2} on {0} (_partition, _page)",
            self.staged,
            columns.concat(),
            quote(&format!("staged_{}_page", self.shape.name)),
        );
        for column in &self.shape.columns {
            let (name, sql_type) = (quote(&column.name), column.kind.sql());
            let _ = write!(sql, "; alter table {} add column if not exists {name} {sql_type}", self.staged);
        }
        sql
    }

    /// Positions of the definition's columns that the table lacks.
    fn missing(&self, existing: &[Existing]) -> Result<Vec<usize>, StoreError> {
        let other = |what: String| {
            StoreError::new(
                StoreErrorKind::Schema,
                format!(
                    "table {} exists with other columns: {what}. Rename or drop it, or give the stream {}.{} another \
                     table with `table = \"…\"`",
                    self.name, self.source, self.stream
                ),
            )
        };
        let mut missing = Vec::new();
        for (i, column) in self.shape.columns.iter().enumerate() {
            match existing.iter().find(|e| e.name == column.name) {
                None if column.key => {
                    return Err(other(format!("key column {} is missing", quote(&column.name))));
                }
                None => missing.push(i),
                Some(e) if e.sql_type != column.kind.sql() => {
                    return Err(other(format!(
                        "{} is {} there, {} in the definition",
                        quote(&column.name),
                        e.sql_type,
                        column.kind.sql()
                    )));
                }
                Some(e) if e.key != column.key => {
                    return Err(other(format!(
                        "{} is {} there",
                        quote(&column.name),
                        if e.key { "part of the primary key" } else { "no part of the primary key" }
                    )));
                }
                Some(_) => {}
            }
        }
        for (name, _) in OWN_COLUMNS {
            if !existing.iter().any(|e| e.name == name) {
                return Err(other(format!("Pagemill's column {} is missing", quote(name))));
            }
        }
        for e in existing.iter().filter(|e| e.key) {
            if !self.shape.columns.iter().any(|c| c.name == e.name) {
                return Err(other(format!(
                    "its primary key has {}, which the definition lacks",
                    quote(&e.name)
                )));
            }
        }
        Ok(missing)
    }

    async fn existing(&self, tx: &tokio_postgres::Transaction<'_>) -> Result<Vec<Existing>, StoreError> {
        let rows = tx
            .query(
                "select a.attname::text as name, case a.atttypid when 'timestamptz'::regtype then 'timestamptz' \
                        else format_type(a.atttypid, null) end as type, \
                        coalesce(a.attnum = any(i.indkey), false) as key \
                 from pg_attribute a \
                 join pg_class c on c.oid = a.attrelid \
                 join pg_namespace n on n.oid = c.relnamespace \
                 left join pg_index i on i.indrelid = c.oid and i.indisprimary \
                 where n.nspname = $1 and c.relname = $2 and a.attnum > 0 and not a.attisdropped \
                 order by a.attnum",
                &[&self.schema, &self.shape.name],
            )
            .await?;
        Ok(rows
            .iter()
            .map(|r| Existing { name: r.get("name"), sql_type: r.get("type"), key: r.get("key") })
            .collect())
    }

    fn create_sql(&self) -> String {
        let mut sql = format!("create table {} (", self.name);
        for column in &self.shape.columns {
            let not_null = if column.key { " not null" } else { "" };
            let _ = write!(sql, "{} {}{not_null}, ", quote(&column.name), column.kind.sql());
        }
        for (name, sql_type) in OWN_COLUMNS {
            let _ = write!(sql, "{} {sql_type} not null, ", quote(name));
        }
        if self.rules.keeps_missing {
            let _ = write!(sql, "{GONE_AT} timestamptz, ");
        }
        let _ = write!(sql, "primary key ({})){}", names(&self.shape, &self.key, ""), self.partition_sql());
        sql
    }

    /// The rows of sealed cells. Joined by equality, so that the cells cost little beside the rows.
    fn view_sql(&self) -> String {
        let account = match &self.shape.account {
            Some(column) => format!("c.account = t.{}::text", quote(column)),
            None => "c.account = ''".to_owned(),
        };
        let dates = match &self.shape.dates {
            DateScope::Within(column) => format!(" and c.from_date = t.{}", quote(column)),
            DateScope::Exact { from, to } => {
                format!(" and c.from_date = t.{} and c.to_date = t.{}", quote(from), quote(to))
            }
            DateScope::Whole => String::new(),
        };
        let present = if self.rules.keeps_missing { " where t._gone_at is null" } else { "" };
        format!(
            "create or replace view {}.{} as select t.* from {} t join pagemill.sealed_cells c \
             on c.source = {} and c.stream = {} and {account}{dates}{present}",
            quote(&self.schema),
            quote(&format!("{}_sealed", self.shape.name)),
            self.name,
            literal(&self.source),
            literal(&self.stream),
        )
    }
}

/// Where each row came from: the pull that changed it last.
const OWN_COLUMNS: [(&str, &str); 3] =
    [("_run", "bigint"), ("_page", "integer"), ("_fetched_at", "timestamptz")];

/// Marks rows that a sealed pull no longer contains, where they are kept.
const GONE_AT: &str = "_gone_at";

fn names(shape: &TableShape, columns: &[usize], prefix: &str) -> String {
    columns
        .iter()
        .map(|&i| format!("{prefix}{}", quote(&shape.columns[i].name)))
        .collect::<Vec<_>>()
        .join(", ")
}
