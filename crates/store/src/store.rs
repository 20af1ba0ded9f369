use jiff::{civil::Date, tz::TimeZone};
use pagemill_core::Slice;

use crate::{
    clock::{self, DatabaseClock},
    consumers::Consumers,
    database::{Database, StoreConfig},
    dead_letters::DeadLetters,
    error::StoreError,
    pages::Pages,
    partitions::Partitions,
    quotas::Quotas,
    responses::Responses,
    runs::Runs,
    seals::Seals,
    table::open_months,
    tokens::Tokens,
};

/// PostgreSQL, as a handle for each noun of the ledger over one pool of connections. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    /// Runs: planned, previewed, summed up.
    pub runs: Runs,
    /// Partitions: published, split, rescued, closed.
    pub partitions: Partitions,
    /// Seals: attempts proved, put into their tables, recounted.
    pub seals: Seals,
    /// Pages: started, stored with their rows, failed.
    pub pages: Pages,
    /// Stored responses: read again, and the reloads made from them.
    pub responses: Responses,
    /// Dead letters: recorded, listed, requeued, dropped.
    pub dead_letters: DeadLetters,
    /// Quotas: request slots, and what the API permits.
    pub quotas: Quotas,
    /// Tokens that rotate.
    pub tokens: Tokens,
    /// Consumers and their heartbeats.
    pub consumers: Consumers,
    pub(crate) database: Database,
}

impl Store {
    /// Opens the pool and checks with one connection that the server accepts it.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`](crate::error::StoreErrorKind::Invalid) for a malformed URL. The message names
    /// the place, never the password.
    pub async fn connect(config: &StoreConfig) -> Result<Self, StoreError> {
        let database = Database::connect(config).await?;
        Ok(Self {
            runs: Runs::new(&database),
            partitions: Partitions::new(&database),
            seals: Seals::new(&database),
            // The embedded database, which has one connection, cannot COPY.
            pages: Pages::new(&database, config.connections > 1),
            responses: Responses::new(&database),
            dead_letters: DeadLetters::new(&database),
            quotas: Quotas::new(&database),
            tokens: Tokens::new(&database),
            consumers: Consumers::new(&database),
            database,
        })
    }

    /// The same connections with nothing remembered, as a new process has them.
    pub fn restarted(&self) -> Self {
        Self { pages: self.pages.restarted(), ..self.clone() }
    }

    /// `host:port/database`, for messages.
    pub fn place(&self) -> &str {
        self.database.place()
    }

    /// Schema of the data tables.
    pub fn schema(&self) -> &str {
        self.database.schema()
    }

    /// Closes the pool: connections end as they come back.
    pub fn close(&self) {
        self.database.close();
    }

    /// Opens the months of these slices in their streams' tables, where those are partitioned and
    /// the month is not there yet.
    pub async fn open_months<'a>(
        &self,
        slices: impl IntoIterator<Item = &'a Slice>,
    ) -> Result<(), StoreError> {
        open_months(&self.database, slices).await
    }

    /// Reads the database's clock.
    pub async fn clock(&self) -> Result<DatabaseClock, StoreError> {
        clock::read(&self.database).await
    }

    /// The day on the database's clock, in a time zone: what `yesterday` is counted from.
    pub async fn today_in(&self, zone: &TimeZone) -> Result<Date, StoreError> {
        Ok(self.clock().await?.now().to_zoned(zone.clone()).date())
    }
}
