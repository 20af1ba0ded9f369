//! A TCP proxy for tests. It stands between a client and a server on 127.0.0.1 and breaks their connections on
//! command.
//!
//! Only programs see these faults, not their kernels: the proxy's kernel acknowledges what a stalled connection
//! sends. A stall is a server or middlebox that hangs, not a pulled cable.
#![forbid(unsafe_code)]

mod connection;
mod fault;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

pub use fault::{Direction, Fault};

/// How long to wait after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);

/// A proxy before one server. Dropped, it ends all connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

/// What the proxy and its connections share.
struct Shared {
    target: SocketAddr,
    faults: Mutex<Faults>,
    bytes: [ByteCount; 2],
}

/// The faults of the connections, in the order in which they were accepted.
#[derive(Default)]
struct Faults {
    connections: Vec<watch::Sender<Option<Fault>>>,
    /// The fault of connections that are yet to come.
    later: Option<Fault>,
}

/// Bytes in one direction, of all connections together.
#[derive(Default)]
struct ByteCount {
    passed: AtomicU64,
    held: AtomicU64,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1, and connects each client to `target`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { target, faults: Mutex::default(), bytes: Default::default() });
        let listener = tokio::spawn(listen(listener, shared.clone()));
        Ok(Self { address, shared, listener })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the fault of all connections, those that are yet to come included.
    pub fn set(&self, fault: Fault) {
        self.set_all(Some(fault));
    }

    /// Ends the fault of all connections: what was held passes on.
    pub fn mend(&self) {
        self.set_all(None);
    }

    /// Sets the fault of the connections that are open now. Later ones are not concerned.
    pub fn set_open(&self, fault: Fault) {
        for connection in &self.shared.faults().connections {
            connection.send_replace(Some(fault));
        }
    }

    /// Sets the fault of one connection: the `n`th that was accepted, from 0.
    ///
    /// # Panics
    /// Fewer were accepted.
    pub fn set_nth(&self, n: usize, fault: Fault) {
        self.shared.faults().connections[n].send_replace(Some(fault));
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.faults().connections.len()
    }

    /// Bytes that were passed on in a direction so far.
    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.bytes[direction as usize].passed.load(Ordering::Relaxed)
    }

    /// Bytes that were read and wait to be passed on in a direction.
    pub fn held(&self, direction: Direction) -> u64 {
        self.shared.bytes[direction as usize].held.load(Ordering::Relaxed)
    }

    fn set_all(&self, fault: Option<Fault>) {
        let mut faults = self.shared.faults();
        faults.later = fault;
        for connection in &faults.connections {
            connection.send_replace(fault);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Shared {
    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault of a connection that was accepted just now.
    fn subscribe(&self) -> watch::Receiver<Option<Fault>> {
        let mut faults = self.faults();
        let (sender, receiver) = watch::channel(faults.later);
        faults.connections.push(sender);
        receiver
    }
}

/// Accepts connections; dropping this future drops them all.
async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let fault = shared.subscribe();
                    connections.spawn(connection::carry(client, shared.clone(), fault));
                }
                Err(_) => sleep(PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
