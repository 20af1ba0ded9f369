//! Asks a source's API for pages.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use pagemill_core::{Failure, FailureClass, FetchedPage, PageJob};
use reqwest::{
    Response, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER},
};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    answer::{self, Received},
    definition::{Auth, Definition},
    network,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An idle connection is kept this long.
const IDLE: Duration = Duration::from_secs(90);

/// The first buffer for a body; later ones are as large as the last body.
const FIRST_BUFFER: usize = 64 << 10;

/// No API is waited for longer at its word.
const LONGEST_RETRY_AFTER: u64 = 86_400;

/// Asks one source's API. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    definition: Arc<Definition>,
    http: reqwest::Client,
    /// None where the source asks for none, or none was given.
    credential: Option<Credential>,
    last_size: AtomicUsize,
}

#[derive(Debug)]
struct Credential {
    header: HeaderName,
    value: HeaderValue,
    token: SecretString,
}

/// A client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The token holds what no header can.
    #[error("the token of source {0} holds characters that no HTTP header can carry")]
    Token(String),
    /// The HTTP client failed to start.
    #[error("the HTTP client does not start: {0}")]
    Http(#[from] reqwest::Error),
}

impl Client {
    /// A client for a source; `token` is what its definition's `auth` sends.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn new(definition: Arc<Definition>, token: Option<SecretString>) -> Result<Self, ClientError> {
        // An error means that there is a provider already, and that is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(concat!("pagemill/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(definition.limits.timeout)
            .pool_idle_timeout(IDLE)
            .build()?;
        let credential = match (definition.auth(), token) {
            (Some(auth), Some(token)) => Some(
                Credential::new(auth, token)
                    .ok_or_else(|| ClientError::Token(definition.name().to_owned()))?,
            ),
            (Some(_) | None, _) => None,
        };
        Ok(Self(Arc::new(Inner { definition, http, credential, last_size: AtomicUsize::new(FIRST_BUFFER) })))
    }

    /// Fetches one page.
    ///
    /// # Errors
    /// A [`Failure`] of the class that the definition's rules give it.
    pub async fn fetch(&self, job: &PageJob) -> Result<FetchedPage, Failure> {
        let Inner { definition, credential, .. } = &*self.0;
        let stream = definition.stream_of(job)?;
        let params = stream.params(job)?;
        let request = stream.body.render(&params)?;
        let response = self.send(&stream.url, request).await?;
        let received = received(&response);
        let retry_after = retry_after(response.headers());
        let body = match self.body(response, &stream.url).await {
            // The status says enough: what throttles, throttles even with half a body.
            Err(_) if !(200..300).contains(&received.status) => Bytes::new(),
            body => body?,
        };
        answer::page(definition, stream, &params, &received, body).map_err(|failure| {
            let message = match credential {
                Some(credential) => credential.redact(failure.message),
                None => failure.message,
            };
            Failure { message, retry_after, ..failure }
        })
    }

    async fn send(&self, url: &Url, body: Vec<u8>) -> Result<Response, Failure> {
        let Inner { definition, http, credential, .. } = &*self.0;
        let mut request = http.post(url.clone()).header(CONTENT_TYPE, "application/json").body(body);
        match credential {
            Some(credential) => request = request.header(&credential.header, &credential.value),
            None if definition.needs_token() => {
                let what = format!("source {} wants a token, and there is none", definition.name());
                return Err(Failure::new(FailureClass::Token, what));
            }
            None => {}
        }
        request.send().await.map_err(|e| network::failure(e, &place(url), definition.limits.timeout))
    }

    /// Reads a body, decompressed, up to the limit.
    async fn body(&self, mut response: Response, url: &Url) -> Result<Bytes, Failure> {
        let limits = self.0.definition.limits;
        let too_large = || Failure::permanent(format!("the answer is larger than {} bytes", limits.body));
        if response.content_length().is_some_and(|length| length > limits.body as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::with_capacity(self.0.last_size.load(Ordering::Relaxed));
        while let Some(chunk) =
            response.chunk().await.map_err(|e| network::failure(e, &place(url), limits.timeout))?
        {
            if body.len() + chunk.len() > limits.body {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        // A little more than this one: pages of a stream are of nearly one size.
        self.0.last_size.store(body.len() + body.len() / 16, Ordering::Relaxed);
        Ok(body.freeze())
    }
}

impl Credential {
    fn new(auth: &Auth, token: SecretString) -> Option<Self> {
        let Auth::Token { header, prefix } = auth;
        let mut value = HeaderValue::from_str(&format!("{prefix}{}", token.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some(Self { header: header.clone(), value, token })
    }

    /// Takes the token out of a message, should the API have repeated it.
    fn redact(&self, message: String) -> String {
        match self.token.expose_secret() {
            "" => message,
            token => message.replace(token, "***"),
        }
    }
}

fn received(response: &Response) -> Received {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    Received {
        status: response.status().as_u16(),
        content_type: header(CONTENT_TYPE).map(str::to_owned),
        location: header(LOCATION)
            .map(|to| to.parse().map_or_else(|_| "another path".into(), |to| place(&to))),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST_RETRY_AFTER)))
}

/// Host and port: all of a URL that is told.
fn place(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or("?"), url.port_or_known_default().unwrap_or(0))
}
