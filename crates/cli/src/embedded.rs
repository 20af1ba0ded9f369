//! PostgreSQL inside the process, kept in a directory. It gives one connection at a time, so the
//! pool has one, and one process at a time has the directory.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use pagemill_engine::error::UnavailableError;
use pagemill_store::{Store, StoreConfig};
use pglite_oxide::PgliteServer;

/// The running server, and the directory's lock.
pub(crate) struct Embedded {
    server: PgliteServer,
    dir: PathBuf,
    _lock: File,
}

/// Opens or creates the database in a directory.
pub(crate) async fn open(dir: &Path, schema: &str) -> anyhow::Result<(Embedded, Store)> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let lock = lock(dir)?;
    let data = dir.join("postgres");
    let server = tokio::task::spawn_blocking(move || PgliteServer::builder().path(data).start())
        .await?
        .with_context(|| format!("the embedded database in {} does not start", dir.display()))?;
    let url = server.database_url();
    let store =
        Store::connect(&StoreConfig { url: url.into(), schema: schema.to_owned(), connections: 1 }).await?;
    Ok((Embedded { server, dir: dir.to_owned(), _lock: lock }, store))
}

/// One process at a time; the file names it. The lock goes with the process, however it ends.
fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join("pagemill.pid");
    let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            write!(file, "{}", std::process::id())?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid)?;
            let what = format!(
                "{} is in use by process {pid}: the embedded database has one connection. Wait for it, or stop it",
                dir.display()
            );
            Err(UnavailableError(what).into())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

impl Embedded {
    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stops the server, once the store's connection is gone.
    pub(crate) async fn close(self, store: Store) {
        drop(store);
        let stopped = tokio::task::spawn_blocking(move || self.server.shutdown()).await;
        if let Ok(Err(error)) = stopped {
            tracing::warn!(%error, "the embedded database did not stop cleanly; it recovers at its next start");
        }
    }
}
