//! Each fault as a client and a server see it.

use std::{io::ErrorKind, time::Duration};

use pagemill_proxy::{Direction, Fault, Proxy};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long something that must not happen is given to happen.
const A_WHILE: Duration = Duration::from_millis(100);

/// A client and a server with the proxy between them.
struct Ends {
    proxy: Proxy,
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

impl Ends {
    async fn connected() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
        let (client, server) = connect(&proxy, &listener).await;
        Self { proxy, listener, client, server }
    }

    async fn another(&self) -> (TcpStream, TcpStream) {
        connect(&self.proxy, &self.listener).await
    }
}

async fn connect(proxy: &Proxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    (client, timeout(PATIENCE, listener.accept()).await.unwrap().unwrap().0)
}

async fn send(from: &mut TcpStream, text: &str) {
    from.write_all(text.as_bytes()).await.unwrap();
}

async fn receive(at: &mut TcpStream, text: &str) {
    let mut received = vec![0; text.len()];
    timeout(PATIENCE, at.read_exact(&mut received)).await.expect("bytes in time").unwrap();
    assert_eq!(String::from_utf8(received).unwrap(), text);
}

async fn assert_nothing_comes(at: &mut TcpStream) {
    let come = timeout(A_WHILE, at.read_u8()).await;
    assert!(come.is_err(), "{come:?}");
}

/// What a read of a broken connection returns.
async fn end(at: &mut TcpStream) -> Result<usize, ErrorKind> {
    timeout(PATIENCE, at.read(&mut [0; 100])).await.expect("an end in time").map_err(|error| error.kind())
}

/// Bytes of which no two parts are alike.
fn numbers() -> Vec<u8> {
    (0..200_000_u32).flat_map(u32::to_le_bytes).collect()
}

#[tokio::test]
async fn bytes_arrive_as_they_were_sent() {
    let Ends { proxy, mut client, mut server, .. } = Ends::connected().await;
    let (mut at_server, mut at_client) = (vec![], vec![]);
    let (sent, returned) = (numbers(), numbers().into_iter().rev().collect::<Vec<_>>());
    {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let exchange = async {
            tokio::join!(
                async {
                    to_client.write_all(&sent).await.unwrap();
                    to_client.shutdown().await.unwrap();
                },
                async {
                    to_server.write_all(&returned).await.unwrap();
                    to_server.shutdown().await.unwrap();
                },
                async { from_server.read_to_end(&mut at_server).await.unwrap() },
                async { from_client.read_to_end(&mut at_client).await.unwrap() },
            )
        };
        timeout(PATIENCE, exchange).await.unwrap();
    }
    assert!(at_server == sent && at_client == returned);
    let passed = [Direction::ToServer, Direction::ToClient].map(|direction| proxy.passed(direction));
    assert_eq!((passed, proxy.held(Direction::ToServer)), ([800_000, 800_000], 0));
}

#[tokio::test]
async fn a_stall_holds_one_direction_and_loses_nothing() {
    let Ends { proxy, mut client, mut server, .. } = Ends::connected().await;
    proxy.set(Fault::Stall(Direction::ToServer));
    send(&mut client, "held").await;
    send(&mut server, "passes").await;
    receive(&mut client, "passes").await;
    assert_nothing_comes(&mut server).await;
    assert_eq!((proxy.held(Direction::ToServer), proxy.held(Direction::ToClient)), (4, 0));
    proxy.mend();
    receive(&mut server, "held").await;
    send(&mut client, " and more").await;
    receive(&mut server, " and more").await;
    assert_eq!(proxy.held(Direction::ToServer), 0);
}

#[tokio::test]
async fn silence_holds_both_directions_and_the_end() {
    let Ends { proxy, mut client, mut server, .. } = Ends::connected().await;
    proxy.set(Fault::Silence);
    send(&mut server, "late").await;
    client.shutdown().await.unwrap();
    tokio::join!(assert_nothing_comes(&mut client), assert_nothing_comes(&mut server));
    proxy.mend();
    receive(&mut client, "late").await;
    assert_eq!(end(&mut server).await, Ok(0));
}

#[tokio::test]
async fn a_reset_is_a_reset_at_both_ends() {
    let Ends { proxy, mut client, mut server, .. } = Ends::connected().await;
    proxy.set_open(Fault::Reset);
    assert_eq!(end(&mut client).await, Err(ErrorKind::ConnectionReset));
    assert_eq!(end(&mut server).await, Err(ErrorKind::ConnectionReset));
}

/// Bytes that are still under way do not make a reset of it.
#[tokio::test]
async fn a_close_is_the_end_of_the_stream_at_both_ends() {
    let Ends { proxy, listener: _listener, mut client, mut server } = Ends::connected().await;
    proxy.set(Fault::Silence);
    send(&mut client, "lost").await;
    while proxy.held(Direction::ToServer) == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    send(&mut client, "unread").await;
    proxy.set(Fault::Close);
    assert_eq!(end(&mut client).await, Ok(0));
    assert_eq!(end(&mut server).await, Ok(0));
    // So do connections that come later.
    assert_eq!(end(&mut TcpStream::connect(proxy.address()).await.unwrap()).await, Ok(0));
}

#[tokio::test]
async fn what_one_end_breaks_breaks_for_the_other() {
    let Ends { client, mut server, .. } = Ends::connected().await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(end(&mut server).await, Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_fault_of_open_connections_spares_later_ones() {
    let mut ends = Ends::connected().await;
    ends.proxy.set_open(Fault::Silence);
    send(&mut ends.client, "held").await;
    let (mut client, mut server) = ends.another().await;
    send(&mut client, "passes").await;
    receive(&mut server, "passes").await;
    assert_nothing_comes(&mut ends.server).await;
    ends.proxy.set_nth(1, Fault::Reset);
    assert_eq!(end(&mut client).await, Err(ErrorKind::ConnectionReset));
    ends.proxy.mend();
    receive(&mut ends.server, "held").await;
    assert_eq!(ends.proxy.accepted(), 2);
}

#[tokio::test]
async fn a_drip_keeps_its_pace_and_the_order() {
    let Ends { proxy, mut client, mut server, .. } = Ends::connected().await;
    let every = Duration::from_millis(20);
    proxy.set(Fault::Drip { bytes: 2, every });
    let begun = Instant::now();
    send(&mut client, "0123456789").await;
    let mut pieces: Vec<Vec<u8>> = vec![];
    while pieces.concat().len() < 10 {
        let mut piece = vec![0; 10];
        let read = timeout(PATIENCE, server.read(&mut piece)).await.unwrap().unwrap();
        pieces.push(piece[..read].to_vec());
    }
    assert_eq!(pieces.concat(), b"0123456789");
    assert!(begun.elapsed() >= 5 * every && pieces.len() > 1, "{:?} {pieces:?}", begun.elapsed());
}

#[tokio::test]
async fn a_delay_holds_bytes_for_its_time_or_until_it_is_mended() {
    let Ends { proxy, mut client, mut server, .. } = Ends::connected().await;
    let delay = Duration::from_millis(50);
    proxy.set(Fault::Delay(delay));
    let begun = Instant::now();
    send(&mut client, "late").await;
    receive(&mut server, "late").await;
    assert!(begun.elapsed() >= delay);
    proxy.set(Fault::Delay(PATIENCE * 2));
    send(&mut client, "soon").await;
    assert_nothing_comes(&mut server).await;
    proxy.mend();
    receive(&mut server, "soon").await;
}

#[tokio::test]
async fn a_dropped_proxy_ends_its_connections() {
    let Ends { proxy, listener: _listener, mut client, mut server } = Ends::connected().await;
    let address = proxy.address();
    drop(proxy);
    assert_eq!(end(&mut client).await, Ok(0));
    assert_eq!(end(&mut server).await, Ok(0));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_server_that_is_away_is_a_reset() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(gone).await.unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(end(&mut client).await, Err(ErrorKind::ConnectionReset));
}
