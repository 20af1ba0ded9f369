//! Sends a request, and reads the response to its end.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use pagemill_core::Failure;
use reqwest::{
    Response,
    header::{CONTENT_TYPE, HeaderName},
};

use crate::{
    definition::{BudgetHeaders, Limits},
    network::{self, place},
    request::Request,
    response::ResponseHead,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An idle connection is kept this long.
const IDLE: Duration = Duration::from_secs(90);

/// The first buffer for a body; later ones are as large as the last body.
const FIRST_BUFFER: usize = 64 << 10;

/// Connections to an API.
#[derive(Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    limits: Limits,
    last_size: AtomicUsize,
}

impl Http {
    pub(crate) fn new(limits: Limits) -> Result<Self, reqwest::Error> {
        // An error means that there is a provider already, and that is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("pagemill/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(limits.timeout)
            .pool_idle_timeout(IDLE)
            .build()?;
        Ok(Self { client, limits, last_size: AtomicUsize::new(FIRST_BUFFER) })
    }

    /// Sends a request, and reads the response to its end.
    pub(crate) async fn exchange(
        &self,
        request: Request,
        total: Option<&HeaderName>,
        budget: Option<&BudgetHeaders>,
    ) -> Result<(ResponseHead, Bytes), Failure> {
        let Request { method, url, headers, body } = request;
        let place = place(&url);
        let mut builder = self.client.request(method, url.clone()).headers(headers);
        if let Some((kind, body)) = body {
            builder = builder.header(CONTENT_TYPE, kind).body(body);
        }
        let response = builder.send().await.map_err(|e| network::failure(e, &place, self.limits.timeout))?;
        let head = ResponseHead::new(&response, url, total, budget);
        let body = match self.body(response, &place).await {
            // The status says enough: what throttles, throttles even with half a body.
            Err(_) if !(200..300).contains(&head.status) => Bytes::new(),
            body => body?,
        };
        Ok((head, body))
    }

    /// Reads a body, decompressed, up to the limit.
    async fn body(&self, mut response: Response, place: &str) -> Result<Bytes, Failure> {
        let limits = self.limits;
        let too_large = || Failure::permanent(format!("the response is larger than {} bytes", limits.body));
        if response.content_length().is_some_and(|length| length > limits.body as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::with_capacity(self.last_size.load(Ordering::Relaxed));
        while let Some(chunk) =
            response.chunk().await.map_err(|e| network::failure(e, place, limits.timeout))?
        {
            if body.len() + chunk.len() > limits.body {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        // A little more than this one: pages of a stream are of nearly one size.
        self.last_size.store(body.len() + body.len() / 16, Ordering::Relaxed);
        Ok(body.freeze())
    }
}
