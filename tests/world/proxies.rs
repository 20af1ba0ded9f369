//! Proxies before a world's servers.

use std::net::{SocketAddr, ToSocketAddrs as _};

use pagemill_proxy::Proxy;

/// The proxies through which a world's programs reach their servers.
pub(crate) struct Proxies {
    pub(crate) postgres: Proxy,
    pub(crate) amqp: Proxy,
    pub(crate) api: Proxy,
    pub(super) postgres_url: String,
    pub(crate) amqp_url: String,
}

impl Proxies {
    pub(super) async fn start(postgres_url: &str, amqp_url: &str, api: SocketAddr) -> Self {
        let (postgres, postgres_url) = before(postgres_url, 5432).await;
        let (amqp, amqp_url) = before(amqp_url, 5672).await;
        let api = Proxy::start(api).await.unwrap();
        Self { postgres, amqp, api, postgres_url, amqp_url }
    }
}

/// A proxy before the server of a URL, and the URL with the proxy in the server's place.
async fn before(url: &str, default_port: u16) -> (Proxy, String) {
    let (user, rest) = url.rsplit_once('@').expect("a URL with a user");
    let (server, path) = rest.split_once('/').expect("a URL with a path");
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().unwrap()),
        None => (server, default_port),
    };
    let target = (host, port).to_socket_addrs().unwrap().next().expect("an address");
    let proxy = Proxy::start(target).await.unwrap();
    let url = format!("{user}@{}/{path}", proxy.address());
    (proxy, url)
}
