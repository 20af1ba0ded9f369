//! How fast the simulator serves, and what a page costs it: `cargo run --release --example serve_speed`.
//!
//! Server and clients have a thread each; the server's CPU time is what the kernel counts for its thread.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use pagemill_simulator::{Simulator, SimulatorConfig};

const CONNECTIONS: u64 = 8;
const FOR: Duration = Duration::from_secs(4);

fn main() {
    let cases = [("100 rows a page", 10_000, false), ("rendered before", 1_000, true), ("no rows", 0, false)];
    for (what, pages, rendered) in cases {
        let (sender, receiver) = mpsc::channel();
        let (done, finished) = mpsc::channel::<()>();
        let server = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let config = SimulatorConfig { port: 0, rows: pages * 100, rendered, ..Default::default() };
                let simulator = Simulator::start(config).await.unwrap();
                sender.send(simulator.address()).unwrap();
                tokio::time::sleep(FOR / 8).await;
                let (start, cpu, before) = (Instant::now(), cpu(), simulator.stats());
                tokio::time::sleep(FOR / 2).await;
                let (elapsed, cpu, after) = (start.elapsed(), self::cpu() - cpu, simulator.stats());
                let served = after.served - before.served;
                let each = |time: Duration| time.as_secs_f64() * 1e6 / served as f64;
                println!(
                    "{what}: {:.0} pages/s of {} bytes; CPU {:.1} µs a page, {:.0} % of a core",
                    served as f64 / elapsed.as_secs_f64(),
                    (after.bytes - before.bytes) / served,
                    each(cpu),
                    100.0 * cpu.as_secs_f64() / elapsed.as_secs_f64(),
                );
                // Serves on until the clients have gone.
                while finished.try_recv() == Err(mpsc::TryRecvError::Empty) {
                    tokio::time::sleep(FOR / 100).await;
                }
            });
        });
        let address = receiver.recv().unwrap();
        let clients: Vec<_> =
            (0..CONNECTIONS).map(|n| thread::spawn(move || hammer(address, n, pages))).collect();
        for client in clients {
            client.join().unwrap();
        }
        drop(done);
        server.join().unwrap();
    }
}

/// The CPU time this thread has used.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn hammer(address: std::net::SocketAddr, first: u64, pages: u64) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut buffer = vec![0; 1 << 18];
    let (start, mut page) = (Instant::now(), first);
    while start.elapsed() < FOR * 3 / 4 {
        page = (page + CONNECTIONS) % pages.max(1);
        let body = format!(
            r#"{{"advertiser_id":1001,"start_date":"2026-11-23","end_date":"2026-11-23","page_num":{},"page_size":100}}"#,
            page + 1
        );
        let length = body.len();
        let head = format!(
            "POST /api/open/jg/data/report/offline/creative HTTP/1.1\r\nHost: s\r\nAccess-Token: t\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let (mut got, mut all) = (0, usize::MAX);
        while got < all {
            let n = stream.read(&mut buffer[got..]).unwrap();
            assert!(n > 0, "the server closed the connection");
            got += n;
            if all == usize::MAX
                && let Some(end) = buffer[..got].windows(4).position(|four| four == b"\r\n\r\n")
            {
                let head = std::str::from_utf8(&buffer[..end]).unwrap().to_lowercase();
                let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
                all = end + 4 + length.parse::<usize>().unwrap();
            }
        }
    }
}
