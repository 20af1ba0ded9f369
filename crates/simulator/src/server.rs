use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::{
    config::SimulatorConfig,
    connection::Connection,
    fault::{Fault, FaultKind},
    limits::Limits,
    routes::respond,
    state::State,
    stats::Stats,
};

/// How long to wait after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);

/// A simulated API that listens until it is stopped or dropped.
pub struct Simulator {
    address: SocketAddr,
    state: Arc<State>,
    listener: JoinHandle<()>,
}

impl Simulator {
    /// Binds the port on 127.0.0.1 and serves from the current runtime.
    pub async fn start(config: SimulatorConfig) -> io::Result<Self> {
        if config.rows > SimulatorConfig::MAX_ROWS {
            let most = SimulatorConfig::MAX_ROWS;
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("at most {most} rows a day")));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::new(config));
        let listener = tokio::spawn(listen(listener, state.clone()));
        Ok(Self { address, state, listener })
    }

    /// Where it listens, as a base URL without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What happened since the start.
    pub fn stats(&self) -> Stats {
        self.state.stats()
    }

    /// Switches a fault on, or changes its rate.
    pub fn set_fault(&self, fault: Fault) {
        self.state.faults().set(fault);
    }

    /// Switches a kind of fault off, for one page or altogether.
    pub fn clear_fault(&self, kind: FaultKind, page: Option<u64>) {
        self.state.faults().clear(kind, page);
    }

    /// Other limits hold from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.state.quota().set_limits(limits);
    }

    /// So many requests are permitted within any one second from now on; other limits stay.
    pub fn set_rate(&self, rate: Option<u32>) {
        let mut quota = self.state.quota();
        let limits = Limits { rate, ..quota.limits() };
        quota.set_limits(limits);
    }

    /// Stops listening and breaks off what is under way.
    pub async fn stop(mut self) {
        self.listener.abort();
        // Cancelled is what it should be; a panic was reported when it happened.
        let _ = (&mut self.listener).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Accepts connections; dropping this future drops them all.
async fn listen(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, state.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the simulator cannot accept a connection");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    // Without it responses are slower, not wrong.
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let connection = TokioIo::new(Connection::new(stream, reset.clone()));
    let service = service_fn(|request| respond(&state, &reset, request));
    if let Err(error) = http1::Builder::new().serve_connection(connection, service).await {
        tracing::debug!(%error, "a connection to the simulator broke");
    }
}
