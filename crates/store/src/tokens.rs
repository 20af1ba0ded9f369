//! Tokens that rotate, shared by all replicas: one of them buys the next pair, under a claim that
//! holds no connection and no lock, and stores it before anybody uses it.

mod key;

use std::time::{Duration, Instant};

use secrecy::SecretString;
use tokio_postgres::Row;

pub use self::key::TokenKey;
use crate::{database::Database, error::StoreError, error::StoreErrorKind};

/// A claim runs out after so long: then its holder is taken for dead, and another goes on.
const CLAIM: Duration = Duration::from_secs(30);

/// A credential's place in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPlace {
    /// The source's name.
    pub source: String,
    /// The credential's name.
    pub credential: String,
}

/// What the API granted, to be stored.
#[derive(Clone, Debug)]
pub struct NewTokens {
    /// Goes with requests.
    pub access_token: SecretString,
    /// From when it was granted.
    pub access_expires_in: Option<Duration>,
    /// Buys the next pair; `None` keeps the one stored.
    pub refresh_token: Option<SecretString>,
    /// From when it was granted.
    pub refresh_expires_in: Option<Duration>,
    /// The accounts that the API named; none keep those stored.
    pub accounts: Vec<String>,
    /// When the request for them was sent: they expire from then.
    pub requested_at: Instant,
}

/// The stored tokens of a credential.
#[derive(Clone, Debug)]
pub struct StoredTokens {
    /// Goes with requests.
    pub access_token: SecretString,
    /// By the local clock, reckoned from the database's; `None` where the API doesn't say.
    pub expires_at: Option<Instant>,
    /// True if there is a refresh token.
    pub refreshable: bool,
    /// The accounts that the API named with the tokens.
    pub accounts: Vec<String>,
    /// Raised with every new pair.
    pub version: i64,
    /// Time since this pair was stored.
    pub age: Duration,
}

/// The result of a claim to buy the next pair.
#[derive(Debug)]
pub enum Claimed {
    /// This process buys it, with this refresh token, before the claim runs out.
    Mine(SecretString),
    /// Another process is buying it: look again soon.
    Theirs,
    /// Another process has bought it: read the new pair.
    Newer,
    /// Nobody can: there is no refresh token.
    NotRefreshable,
}

/// A credential's tokens as an operator may see them: never the tokens themselves.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TokenStatus {
    /// The source's name.
    pub source: String,
    /// The credential's name.
    pub credential: String,
    /// When the access token expires, as text in UTC.
    pub access_expires_at: Option<String>,
    /// Seconds until then; negative when it has.
    pub access_expires_in: Option<i64>,
    /// When the refresh token expires.
    pub refresh_expires_at: Option<String>,
    /// Seconds until then.
    pub refresh_expires_in: Option<i64>,
    /// True if there is a refresh token.
    pub refreshable: bool,
    /// The accounts that the API named.
    pub accounts: Vec<String>,
    /// Raised with every new pair.
    pub version: i64,
    /// When this pair was stored.
    pub refreshed_at: String,
    /// The process that buys the next pair now.
    pub refreshing_by: Option<String>,
}

/// Tokens that rotate.
#[derive(Clone)]
pub struct Tokens {
    database: Database,
}

impl Tokens {
    pub(crate) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// The newest pair of a credential; `None` if access was never granted.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] if the key is not the one they were stored with, or any
    /// error of a query.
    pub async fn get(&self, key: &TokenKey, place: &TokenPlace) -> Result<Option<StoredTokens>, StoreError> {
        let client = self.database.client().await?;
        let statement = client
            .prepare_cached(
                "select access_token, extract(epoch from access_expires_at - clock_timestamp())::float8 as seconds_left, \
                     refresh_token is not null as refreshable, accounts, version, \
                     extract(epoch from clock_timestamp() - refreshed_at)::float8 as age \
                 from pagemill.tokens where source = $1 and credential = $2",
            )
            .await?;
        let row = client.query_opt(&statement, &[&place.source, &place.credential]).await?;
        row.map(|row| stored(key, place, &row)).transpose()
    }

    /// The accounts that the API named with a credential's tokens; `None` if access was never granted.
    pub async fn accounts(&self, place: &TokenPlace) -> Result<Option<Vec<String>>, StoreError> {
        let client = self.database.client().await?;
        let sql = "select accounts from pagemill.tokens where source = $1 and credential = $2";
        let row = client.query_opt(sql, &[&place.source, &place.credential]).await?;
        Ok(row.map(|row| row.get("accounts")))
    }

    /// Claims the purchase of the pair after `version`, for 30 s: of many processes at once, one
    /// has it. Nothing is locked and no connection held when this returns.
    ///
    /// # Errors
    /// As [`Tokens::get`].
    pub async fn claim(
        &self,
        key: &TokenKey,
        place: &TokenPlace,
        version: i64,
        owner: &str,
    ) -> Result<Claimed, StoreError> {
        let client = self.database.client().await?;
        let TokenPlace { source, credential } = place;
        let row = client
            .query_opt(
                "update pagemill.tokens \
                 set refreshing_until = clock_timestamp() + make_interval(secs => $5), refreshing_by = $4 \
                 where source = $1 and credential = $2 and version = $3 and refresh_token is not null \
                   and coalesce(refreshing_until < clock_timestamp(), true) \
                 returning refresh_token",
                &[source, credential, &version, &owner, &CLAIM.as_secs_f64()],
            )
            .await?;
        if let Some(row) = row {
            return Ok(Claimed::Mine(key.open(place, "refresh", row.get("refresh_token"))?));
        }
        let sql = "select version, refresh_token is not null as refreshable from pagemill.tokens where source = $1 and credential = $2";
        let now = client.query_opt(sql, &[source, credential]).await?;
        Ok(match now.map(|row| (row.get::<_, i64>("version"), row.get::<_, bool>("refreshable"))) {
            Some((newest, _)) if newest != version => Claimed::Newer,
            Some((_, true)) => Claimed::Theirs,
            Some((_, false)) | None => Claimed::NotRefreshable,
        })
    }

    /// Holds a claim on for another 30 s: the API takes its time.
    pub async fn extend_claim(&self, place: &TokenPlace, owner: &str) -> Result<(), StoreError> {
        let client = self.database.client().await?;
        let sql = "update pagemill.tokens set refreshing_until = clock_timestamp() + make_interval(secs => $4) \
                   where source = $1 and credential = $2 and refreshing_by = $3";
        client.execute(sql, &[&place.source, &place.credential, &owner, &CLAIM.as_secs_f64()]).await?;
        Ok(())
    }

    /// Stores the pair bought after `version`, and ends the claim. False if a newer one is there
    /// already, which stays.
    ///
    /// # Errors
    /// After an error the pair is not stored, and nobody may use it.
    pub async fn put_refreshed(
        &self,
        key: &TokenKey,
        place: &TokenPlace,
        version: i64,
        new: &NewTokens,
    ) -> Result<bool, StoreError> {
        Ok(self.put(key, place, Some(version), new).await?.is_some())
    }

    /// Stores the first pair of a new grant over whatever is there; returns its version.
    pub async fn put_granted(
        &self,
        key: &TokenKey,
        place: &TokenPlace,
        new: &NewTokens,
    ) -> Result<i64, StoreError> {
        let version = self.put(key, place, None, new).await?;
        version.ok_or_else(|| StoreError::new(StoreErrorKind::Permanent, "the tokens were not stored"))
    }

    async fn put(
        &self,
        key: &TokenKey,
        place: &TokenPlace,
        after: Option<i64>,
        new: &NewTokens,
    ) -> Result<Option<i64>, StoreError> {
        let client = self.database.client().await?;
        let TokenPlace { source, credential } = place;
        let access = key.seal(place, "access", &new.access_token);
        let refresh = new.refresh_token.as_ref().map(|token| key.seal(place, "refresh", token));
        let left = |from: Option<Duration>| {
            from.map(|span| span.as_secs_f64() - new.requested_at.elapsed().as_secs_f64())
        };
        let (access_left, refresh_left) = (left(new.access_expires_in), left(new.refresh_expires_in));
        // A refresh token that comes without its expiry has none that is known; one that stays, keeps its own.
        let row = client
            .query_opt(
                "insert into pagemill.tokens as t \
                     (source, credential, access_token, access_expires_at, refresh_token, refresh_expires_at, accounts) \
                 values ($1, $2, $3, clock_timestamp() + make_interval(secs => $4::float8), \
                         $5, clock_timestamp() + make_interval(secs => $6::float8), $7) \
                 on conflict (source, credential) do update set \
                     access_token = excluded.access_token, access_expires_at = excluded.access_expires_at, \
                     refresh_token = coalesce(excluded.refresh_token, case when $8::bigint is not null then t.refresh_token end), \
                     refresh_expires_at = case when excluded.refresh_token is null and $8 is not null \
                                          then coalesce(excluded.refresh_expires_at, t.refresh_expires_at) \
                                          else excluded.refresh_expires_at end, \
                     accounts = case when excluded.accounts = '{}' and $8 is not null then t.accounts else excluded.accounts end, \
                     version = t.version + 1, refreshing_until = null, refreshing_by = null, \
                     refreshed_at = clock_timestamp() \
                 where $8 is null or t.version = $8 \
                 returning version",
                &[source, credential, &access, &access_left, &refresh, &refresh_left, &new.accounts, &after],
            )
            .await?;
        Ok(row.map(|row| row.get("version")))
    }

    /// Releases a claim: the purchase failed, and may be tried again.
    ///
    /// # Errors
    /// After an error the claim runs out by itself.
    pub async fn release_claim(&self, place: &TokenPlace, owner: &str) -> Result<(), StoreError> {
        let client = self.database.client().await?;
        let sql = "update pagemill.tokens set refreshing_until = null, refreshing_by = null \
                   where source = $1 and credential = $2 and refreshing_by = $3";
        client.execute(sql, &[&place.source, &place.credential, &owner]).await?;
        Ok(())
    }

    /// The state of a source's tokens, by credential.
    pub async fn status(&self, source: &str) -> Result<Vec<TokenStatus>, StoreError> {
        let client = self.database.client().await?;
        let rows = client
            .query(
                "select credential, to_char(access_expires_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as access_expires, \
                     floor(extract(epoch from access_expires_at - clock_timestamp()))::bigint as access_left, \
                     to_char(refresh_expires_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as refresh_expires, \
                     floor(extract(epoch from refresh_expires_at - clock_timestamp()))::bigint as refresh_left, \
                     refresh_token is not null as refreshable, accounts, version, \
                     to_char(refreshed_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as refreshed, \
                     case when refreshing_until > clock_timestamp() then refreshing_by end as refreshing_by \
                 from pagemill.tokens where source = $1 order by credential",
                &[&source],
            )
            .await?;
        Ok(rows
            .iter()
            .map(|row| TokenStatus {
                source: source.to_owned(),
                credential: row.get("credential"),
                access_expires_at: row.get("access_expires"),
                access_expires_in: row.get("access_left"),
                refresh_expires_at: row.get("refresh_expires"),
                refresh_expires_in: row.get("refresh_left"),
                refreshable: row.get("refreshable"),
                accounts: row.get("accounts"),
                version: row.get("version"),
                refreshed_at: row.get("refreshed"),
                refreshing_by: row.get("refreshing_by"),
            })
            .collect())
    }
}

fn stored(key: &TokenKey, place: &TokenPlace, row: &Row) -> Result<StoredTokens, StoreError> {
    let now = Instant::now();
    let left: Option<f64> = row.get("seconds_left");
    Ok(StoredTokens {
        access_token: key.open(place, "access", row.get("access_token"))?,
        expires_at: left.and_then(|left| now.checked_add(Duration::try_from_secs_f64(left.max(0.0)).ok()?)),
        refreshable: row.get("refreshable"),
        accounts: row.get("accounts"),
        version: row.get("version"),
        age: Duration::from_secs_f64(row.get::<_, f64>("age").max(0.0)),
    })
}
