//! The pool of connections that all handles share.

use std::{str::FromStr, sync::Arc, time::Duration};

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, QueueMode, RecyclingMethod, Runtime,
};
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{
    Config, NoTls,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{error::StoreError, error::StoreErrorKind, identifier::check_identifier};

const CONNECT: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_secs(60);
/// Every connection's settings. `search_path` is fixed, so that no object of another schema can
/// stand in for ours; the timeouts keep a stuck statement or a forgotten transaction from holding
/// locks; a commit is durable when it returns, since the ack follows it. Compiling a statement costs up
/// to a second where there are many months, and no statement here runs for as long.
const SESSION: &str = "set search_path = pg_catalog; \
    set statement_timeout = '60s'; \
    set lock_timeout = '30s'; \
    set idle_in_transaction_session_timeout = '10s'; \
    set synchronous_commit = on; \
    set jit = off; \
    set timezone = 'UTC'; \
    set client_min_messages = warning";

/// The URL, schema and pool size of a database.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `postgres://user@host:port/database?…`
    pub url: SecretString,
    /// Schema of the data tables.
    pub schema: String,
    /// Most connections at a time.
    pub connections: usize,
}

/// A pool of connections, and the schema of the data tables. Clones share it.
#[derive(Clone)]
pub(crate) struct Database(Arc<Inner>);

struct Inner {
    pool: Pool,
    schema: String,
    place: String,
}

impl Database {
    /// Opens the pool and checks with one connection that the server accepts it.
    pub(crate) async fn connect(config: &StoreConfig) -> Result<Self, StoreError> {
        check_identifier(&config.schema).map_err(|e| invalid(format!("postgres.schema: {e}")))?;
        let pg = server_config(config.url.expose_secret())?;
        let place = place(&pg);
        let pool = Pool::builder(manager(pg)?)
            .max_size(config.connections.max(1))
            // The one used last: its buffers are large already, and the others' stay small.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(CONNECT))
            .wait_timeout(Some(WAIT))
            .recycle_timeout(Some(CONNECT))
            .post_create(Hook::async_fn(|client, _| {
                Box::pin(async move { client.batch_execute(SESSION).await.map_err(HookError::Backend) })
            }))
            .build()
            .map_err(|e| invalid(e.to_string()))?;
        let database = Self(Arc::new(Inner { pool, schema: config.schema.clone(), place }));
        drop(database.client().await?);
        Ok(database)
    }

    /// Borrows a connection.
    pub(crate) async fn client(&self) -> Result<Object, StoreError> {
        self.0.pool.get().await.map_err(|e| {
            let e = StoreError::from(e);
            let remedy = match e.kind() {
                StoreErrorKind::Refused => "check user, password and database in postgres.url",
                _ => "is it running, and is postgres.url right?",
            };
            StoreError::new(e.kind(), format!("{e} [{}; {remedy}]", self.place()))
        })
    }

    /// Schema of the data tables.
    pub(crate) fn schema(&self) -> &str {
        &self.0.schema
    }

    /// `host:port/database`, for messages.
    pub(crate) fn place(&self) -> &str {
        &self.0.place
    }

    /// Closes the pool: connections end as they come back.
    pub(crate) fn close(&self) {
        self.0.pool.close();
    }
}

fn invalid(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, message)
}

/// The server that a URL names, and how to speak to it.
fn server_config(url: &str) -> Result<Config, StoreError> {
    let mut pg = Config::from_str(url).map_err(|e| {
        invalid(format!("postgres.url is no PostgreSQL URL ({e}): write postgres://user@host:5432/database"))
    })?;
    pg.connect_timeout(CONNECT).application_name("pagemill");
    pg.keepalives_idle(Duration::from_secs(30)).tcp_user_timeout(Duration::from_secs(30));
    if !url.contains("sslmode=") {
        // `prefer`, the library's default, goes plaintext without a word.
        pg.ssl_mode(if is_local(&pg) { SslMode::Disable } else { SslMode::Require });
    }
    Ok(pg)
}

fn manager(pg: Config) -> Result<Manager, StoreError> {
    let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    if pg.get_ssl_mode() == SslMode::Disable {
        return Ok(Manager::from_config(pg, NoTls, config));
    }
    // Err means that another crate installed a provider first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (tls, unread) = MakeRustlsConnect::with_native_certs()
        .map_err(|e| invalid(format!("the system's certificates cannot be read: {e:?}")))?;
    for error in unread {
        tracing::warn!(%error, "a system certificate cannot be read");
    }
    Ok(Manager::from_config(pg, tls, config))
}

fn is_local(pg: &Config) -> bool {
    pg.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    })
}

fn place(pg: &Config) -> String {
    let host = match pg.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".into(),
    };
    let port = pg.get_ports().first().copied().unwrap_or(5432);
    format!("{host}:{port}/{}", pg.get_dbname().or(pg.get_user()).unwrap_or("postgres"))
}
