//! Selects slices of the config's streams.

use pagemill_core::DateWord;
use pagemill_source::Definition;
use pagemill_store::{DataTable, Slices, Store};

use crate::{error::UsageError, sources::ResolvedSource};

/// Selects slices whose stored responses are decoded again or compared.
#[derive(Clone, Debug, Default)]
pub struct SliceFilter {
    /// Only of this source.
    pub source: Option<String>,
    /// Only of these streams; empty = of all that the config names.
    pub streams: Vec<String>,
    /// Only of these accounts; empty = of all.
    pub accounts: Vec<String>,
    /// Only of these days.
    pub days: Option<(DateWord, DateWord)>,
}

/// A stream of the config, and the slices of it that a filter selects.
pub struct SelectedStream<'a> {
    /// The source's definition.
    pub definition: &'a Definition,
    /// The stream's table.
    pub table: DataTable,
    /// The slices that are selected.
    pub slices: Slices,
}

impl SliceFilter {
    /// The streams of the config that the filter selects.
    ///
    /// # Errors
    /// [`UsageError`] for a name that the config does not have; PostgreSQL being away.
    pub async fn select<'a>(
        &self,
        store: &Store,
        resolved: &'a [ResolvedSource],
    ) -> anyhow::Result<Vec<SelectedStream<'a>>> {
        let sources: Vec<&ResolvedSource> =
            resolved.iter().filter(|r| self.source.as_ref().is_none_or(|s| s == r.name())).collect();
        if let (Some(name), true) = (&self.source, sources.is_empty()) {
            let known: Vec<&str> = resolved.iter().map(ResolvedSource::name).collect();
            return Err(
                UsageError(format!("unknown source '{name}': the config has {}", known.join(", "))).into()
            );
        }
        let mut selected = Vec::new();
        for source in sources {
            let days = match self.days {
                Some((from, to)) => {
                    let today = store.today_in(source.definition().zone()).await?;
                    Some((from.resolve(today), to.resolve(today)))
                }
                None => None,
            };
            let slices = Slices { accounts: self.accounts.clone(), days };
            let mut tables: Vec<(String, DataTable)> = source.tables(store)?.into_iter().collect();
            tables.retain(|(name, _)| self.streams.is_empty() || self.streams.contains(name));
            tables.sort_by(|(a, _), (b, _)| a.cmp(b));
            let definition = source.definition();
            let slices = |(_, table)| SelectedStream { definition, table, slices: slices.clone() };
            selected.extend(tables.into_iter().map(slices));
        }
        let of_none = |stream: &&String| !selected.iter().any(|c| c.table.stream() == **stream);
        if let Some(unknown) = self.streams.iter().find(of_none) {
            return Err(
                UsageError(format!("unknown stream '{unknown}': the config pulls no such stream")).into()
            );
        }
        Ok(selected)
    }
}
