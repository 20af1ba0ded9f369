//! The statements that put a proved attempt's rows into its data table.
//!
//! The difference between the table and what is staged is collected first, by key, in a temporary table of the
//! connection. Only these rows are then deleted and inserted.

use super::{DataTable, names};
use crate::identifier::quote;

/// The kinds of a difference, as the temporary table has them: a row is not there yet,
pub(crate) const NEW: i16 = 1;
/// has other values,
pub(crate) const CHANGED: i16 = 2;
/// is no longer the slice's,
pub(crate) const GONE: i16 = 3;
/// or was marked as gone, and comes again.
pub(crate) const BACK: i16 = 4;

impl DataTable {
    /// The temporary table of differences.
    pub(crate) fn difference(&self) -> String {
        format!("pg_temp.{}", quote(&format!("differ_{}", self.shape.name)))
    }

    /// Creates the temporary table. It is empty at the end of each transaction.
    pub(crate) fn create_difference_sql(&self) -> String {
        let key = self.key.iter().map(|&k| &self.shape.columns[k]);
        let columns: Vec<String> = key.map(|c| format!(", {} {}", quote(&c.name), c.kind.sql())).collect();
        format!(
            "create temporary table if not exists {} (_kind smallint{}) on commit delete rows",
            self.difference(),
            columns.concat()
        )
    }

    /// Collects what differs between the slice's rows and the staged rows of partitions `$4`, which are all rows of the
    /// attempt.
    pub(crate) fn difference_sql(&self) -> String {
        let key = names(&self.shape, &self.key, "");
        let either = self.key.iter().map(|&k| {
            let name = quote(&self.shape.columns[k].name);
            format!("coalesce(t.{name}, s.{name})")
        });
        let either: Vec<String> = either.collect();
        format!(
            "insert into {difference} (_kind, {key}) \
             select case when s._partition is null then {GONE} {kind}, {either} \
             from (select * from {name} where {slice}) t \
             full join (select * from {staged} where _partition = any($4)) s using ({key}) \
             where case when s._partition is null then {present} when t._run is null then true else {differs} end",
            difference = self.difference(),
            kind = self.staged_kind(),
            either = either.join(", "),
            name = self.name,
            slice = self.slice_condition_of(""),
            staged = self.staged,
            present = if self.rules.keeps_missing { "t._gone_at is null" } else { "true" },
            differs = self.differs(),
        )
    }

    /// Collects the new and the changed among the staged rows of partitions `$4`. The attempt's other rows are in the
    /// table as they are.
    pub(crate) fn staged_difference_sql(&self) -> String {
        let key = names(&self.shape, &self.key, "");
        format!(
            "insert into {difference} (_kind, {key}) select case {kind}, {staged_key} \
             from {staged} s left join (select * from {name} where {slice}) t using ({key}) \
             where s._partition = any($4) and (t._run is null or {differs})",
            difference = self.difference(),
            kind = self.staged_kind(),
            staged_key = names(&self.shape, &self.key, "s."),
            staged = self.staged,
            name = self.name,
            slice = self.slice_condition_of(""),
            differs = self.differs(),
        )
    }

    /// Notes keys as gone: an array for each column of the key.
    pub(crate) fn note_gone_sql(&self) -> String {
        format!(
            "insert into {} (_kind, {}) select {GONE}, {}",
            self.difference(),
            names(&self.shape, &self.key, ""),
            self.unnested_keys()
        )
    }

    /// Deletes the rows of keys: an array for each column of the key.
    pub(crate) fn delete_keys_sql(&self) -> String {
        let key = names(&self.shape, &self.key, "");
        format!(
            "delete from {} t using (select {}) as d({key}) where ({}) = ({})",
            self.name,
            self.unnested_keys(),
            names(&self.shape, &self.key, "t."),
            names(&self.shape, &self.key, "d."),
        )
    }

    /// Deletes the slice's rows of these kinds.
    pub(crate) fn delete_differing_sql(&self, kinds: &[i16]) -> String {
        format!("delete from {} t using {} d {}", self.name, self.difference(), self.where_differing(kinds))
    }

    /// Deletes all rows of the slice.
    pub(crate) fn delete_slice_sql(&self) -> String {
        format!("delete from {} t where {}", self.name, self.slice_condition_of("t."))
    }

    /// Marks the slice's rows that are gone.
    pub(crate) fn mark_gone_sql(&self) -> String {
        let (name, difference) = (&self.name, self.difference());
        format!("update {name} t set _gone_at = now() from {difference} d {}", self.where_differing(&[GONE]))
    }

    /// Inserts the staged rows of partitions `$1` as rows of run `$2`: those that differ, or `all`.
    pub(crate) fn insert_staged_sql(&self, all: bool) -> String {
        let columns: Vec<usize> = (0..self.shape.columns.len()).collect();
        let differing = match all {
            true => String::new(),
            false => format!(
                "join {} d on d._kind <> {GONE} and ({}) = ({}) ",
                self.difference(),
                names(&self.shape, &self.key, "d."),
                names(&self.shape, &self.key, "s.")
            ),
        };
        format!(
            "insert into {name} as t ({to}, _run, _page, _fetched_at) \
             select {from}, $2::bigint, s._page, g.requested_at from {staged} s {differing}\
             join pagemill.pages g on g.partition = s._partition and g.page = s._page where s._partition = any($1)",
            name = self.name,
            to = names(&self.shape, &columns, ""),
            from = names(&self.shape, &columns, "s."),
            staged = self.staged,
        )
    }

    /// The slice's rows of these kinds, of the table `t` and the differences `d`.
    fn where_differing(&self, kinds: &[i16]) -> String {
        let kinds: Vec<String> = kinds.iter().map(i16::to_string).collect();
        format!(
            "where d._kind in ({}) and {} and ({}) = ({})",
            kinds.join(", "),
            self.slice_condition_of("t."),
            names(&self.shape, &self.key, "t."),
            names(&self.shape, &self.key, "d."),
        )
    }

    /// The rest of a `case` for the kind of a staged row that differs.
    fn staged_kind(&self) -> String {
        let back = if self.rules.keeps_missing {
            format!(" when t._gone_at is not null then {BACK}")
        } else {
            String::new()
        };
        format!("when t._run is null then {NEW}{back} else {CHANGED} end")
    }

    /// True where the columns outside the key differ between the table's row `t` and the staged `s`.
    fn differs(&self) -> String {
        let rest: Vec<usize> =
            (0..self.shape.columns.len()).filter(|&i| !self.shape.columns[i].key).collect();
        let differ = format!(
            "({}) is distinct from ({})",
            names(&self.shape, &rest, "t."),
            names(&self.shape, &rest, "s.")
        );
        match (rest.is_empty(), self.rules.keeps_missing) {
            (true, false) => "false".to_owned(),
            (true, true) => "t._gone_at is not null".to_owned(),
            (false, true) => format!("t._gone_at is not null or {differ}"),
            (false, false) => differ,
        }
    }

    fn unnested_keys(&self) -> String {
        let key = self.key.iter().map(|&k| self.shape.columns[k].kind.sql());
        let arrays: Vec<String> = (1..).zip(key).map(|(i, t)| format!("unnest(${i}::{t}[])")).collect();
        arrays.join(", ")
    }
}
