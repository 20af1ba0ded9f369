use std::{io, sync::Arc, sync::atomic::Ordering, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::timeout,
};

use crate::{
    Shared,
    fault::{Direction, Fault, Watch},
};

/// Bytes read at a time.
const CHUNK: usize = 16 << 10;
/// How long a side that was closed may go on sending.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Carries a connection until both sides have ended it, or a fault does.
pub(crate) async fn carry(mut client: TcpStream, shared: Arc<Shared>, fault: watch::Receiver<Option<Fault>>) {
    let fault = Watch(fault);
    let Ok(mut server) = TcpStream::connect(shared.target).await else {
        return drop(client.set_zero_linger());
    };
    let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
    let by_reset = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let passing = async {
            tokio::try_join!(
                pass(from_client, to_server, Direction::ToServer, &shared, fault.clone()),
                pass(from_server, to_client, Direction::ToClient, &shared, fault.clone()),
            )
        };
        let mut end = fault.clone();
        tokio::select! {
            biased;
            by_reset = end.end() => by_reset,
            // One side has broken the connection: so it breaks for the other.
            passed = passing => passed.is_err(),
        }
    };
    if by_reset {
        let (_, _) = (client.set_zero_linger(), server.set_zero_linger());
    } else {
        tokio::join!(close(client), close(server));
    }
}

/// Passes the bytes of one direction on, in their order, and at last their end.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    shared: &Shared,
    mut fault: Watch,
) -> io::Result<()> {
    let count = &shared.bytes[direction as usize];
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            fault.admit(direction, 0).await;
            return to.shutdown().await;
        }
        let mut held = Held { count: &count.held, bytes: 0 };
        held.add(read);
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fault.admit(direction, rest.len()).await);
            to.write_all(now).await?;
            count.passed.fetch_add(now.len() as u64, Ordering::Relaxed);
            held.remove(now.len());
            rest = later;
        }
    }
}

/// Bytes that one direction of a connection holds; none when dropped.
struct Held<'a> {
    count: &'a std::sync::atomic::AtomicU64,
    bytes: usize,
}

impl Held<'_> {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.count.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn remove(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.count.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.remove(self.bytes);
    }
}

/// Sends the end of the stream. Unread bytes would make a reset of it, so they are read.
async fn close(mut stream: TcpStream) {
    if stream.shutdown().await.is_ok() {
        let mut rest = tokio::io::sink();
        let _ = timeout(CLOSE_TIMEOUT, tokio::io::copy(&mut stream, &mut rest)).await;
    }
}
