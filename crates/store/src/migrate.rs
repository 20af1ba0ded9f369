use refinery::Runner;

use crate::{error::StoreError, error::StoreErrorKind, store::Store, table::DataTable};

mod sql {
    refinery::embed_migrations!("../../migrations");
}

const HISTORY: &str = "pagemill.migrations";

/// What `migrate` did, in words; empty when all was current.
#[derive(Clone, Debug, Default)]
pub struct Migrated {
    /// One line a change.
    pub changes: Vec<String>,
}

impl Store {
    /// Brings the ledger's schema and the data tables up to this program's version. Safe to run
    /// from several places at once.
    ///
    /// # Errors
    /// [`StoreErrorKind::Schema`] when a table exists with other columns, or the ledger is of a
    /// newer program; [`StoreErrorKind::Refused`] when the role may not create tables.
    pub async fn migrate(&self, tables: &[DataTable]) -> Result<Migrated, StoreError> {
        let mut client = self.database.client().await?;
        let mut changes = Vec::new();
        // Session-long: the migration library makes its own transactions.
        client.batch_execute("select pg_advisory_lock(hashtext('pagemill.migrate'))").await?;
        let migrated = self.migrate_locked(&mut client, tables, &mut changes).await;
        client.batch_execute("select pg_advisory_unlock(hashtext('pagemill.migrate'))").await?;
        migrated.map(|()| Migrated { changes })
    }

    async fn migrate_locked(
        &self,
        client: &mut deadpool_postgres::Object,
        tables: &[DataTable],
        changes: &mut Vec<String>,
    ) -> Result<(), StoreError> {
        let schemas: i64 = client
            .query_one(
                "select count(*) as schemas from pg_namespace where nspname = any(array['pagemill', $1])",
                &[&self.schema()],
            )
            .await?
            .get("schemas");
        let wanted = if self.schema() == "pagemill" { 1 } else { 2 };
        if schemas < wanted {
            // Only when missing: `if not exists` needs the right to create all the same.
            let sql = format!(
                "create schema if not exists pagemill; create schema if not exists {}",
                crate::identifier::quote(self.schema())
            );
            client.batch_execute(&sql).await?;
        }
        let report = runner().run_async(&mut ***client).await.map_err(|e| {
            StoreError::new(StoreErrorKind::Schema, format!("ledger migration: {}", refinery_cause(&e)))
        })?;
        changes.extend(report.applied_migrations().iter().map(|m| format!("ledger: {m}")));
        let tx = client.transaction().await?;
        tx.batch_execute("select pagemill.open_month(current_date), pagemill.open_month((current_date + interval '1 month')::date)")
            .await?;
        for table in tables {
            let done = table.migrate(&tx).await?;
            tx.execute(
                "insert into pagemill.streams (source, stream, table_name, shape) values ($1, $2, $3, $4) \
                 on conflict (source, stream) do update set table_name = excluded.table_name, shape = excluded.shape, migrated_at = now() \
                 where streams.shape <> excluded.shape or $5",
                &[&table.source, &table.stream, &table.name, &table.recorded_shape(), &!done.is_empty()],
            )
            .await?;
            changes.extend(done);
        }
        tx.commit().await?;
        Ok(())
    }

    /// Refuses a schema that is not exactly this program's, saying so.
    ///
    /// # Errors
    /// [`StoreErrorKind::Schema`] with the remedy.
    pub async fn check_schema(&self, tables: &[DataTable]) -> Result<(), StoreError> {
        let behind = |what: String| {
            StoreError::new(
                StoreErrorKind::Schema,
                format!("{what} in {}: run `pagemill migrate`", self.place()),
            )
        };
        let mut client = self.database.client().await?;
        let there: bool =
            client.query_one("select to_regclass($1) is not null as found", &[&HISTORY]).await?.get("found");
        if !there {
            return Err(behind("there is no ledger (schema pagemill)".into()));
        }
        let applied = runner()
            .get_last_applied_migration_async(&mut **client)
            .await
            .map_err(|e| StoreError::new(StoreErrorKind::Schema, refinery_cause(&e)))?;
        let applied = applied.map_or(0, |m| m.version());
        let newest = runner().get_migrations().iter().map(refinery::Migration::version).max().unwrap_or(0);
        if applied < newest {
            return Err(behind(format!(
                "the ledger's schema is behind: version {applied}, this program needs {newest}"
            )));
        }
        if applied > newest {
            return Err(StoreError::new(
                StoreErrorKind::Schema,
                format!(
                    "the ledger's schema in {} is of a newer Pagemill (version {applied}, this program knows {newest}): update this program",
                    self.place()
                ),
            ));
        }
        for table in tables {
            let row = client
                .query_opt(
                    "select shape = $3 and to_regclass($4) is not null as current from pagemill.streams where source = $1 and stream = $2",
                    &[&table.source, &table.stream, &table.recorded_shape(), &table.name],
                )
                .await?;
            if !row.is_some_and(|r| r.get("current")) {
                return Err(behind(format!(
                    "the table {} of {}.{} is missing or behind its definition",
                    table.name, table.source, table.stream
                )));
            }
        }
        Ok(())
    }
}

fn runner() -> Runner {
    let mut runner = sql::migrations::runner();
    runner.set_migration_table_name(HISTORY);
    runner
}

fn refinery_cause(error: &refinery::Error) -> String {
    use std::error::Error as _;
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}
