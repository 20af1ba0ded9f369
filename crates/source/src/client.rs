//! Asks a source's API for pages.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use pagemill_core::{BodyDigest, Budget, Failure, FailureClass, FetchedPage, PageJob};
use reqwest::{
    Response, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, LINK, LOCATION, RETRY_AFTER},
};

use crate::{
    answer::{self, Received},
    ask::{Ask, Credential, place},
    definition::{BudgetHeaders, Definition, Pager, Stream, Task},
    network,
    params::Params,
    request::Request,
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
    last_size: AtomicUsize,
}

/// What came of asking.
#[derive(Debug)]
pub enum Fetch {
    /// A page.
    Page(Box<FetchedPage>),
    /// The page that was known before, word for word but for the request's id.
    Same {
        /// The API's id of the request; empty where it gives none.
        request_id: String,
        /// What the API says is left of its quota.
        budget: Option<Budget>,
    },
    /// The report isn't ready: the same job is to come back with this cursor after the wait. No
    /// attempt is spent.
    Later {
        /// The task's id.
        cursor: String,
        /// How long to wait.
        wait: Duration,
    },
    /// The task that the job's cursor names failed, or the API no longer knows it: the job is to come
    /// back without a cursor, as another attempt.
    Anew(Failure),
}

/// A client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The HTTP client failed to start.
    #[error("the HTTP client does not start: {0}")]
    Http(#[from] reqwest::Error),
}

impl Client {
    /// A client for a source.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn new(definition: Arc<Definition>) -> Result<Self, ClientError> {
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
        Ok(Self(Arc::new(Inner { definition, http, last_size: AtomicUsize::new(FIRST_BUFFER) })))
    }

    pub(crate) fn definition(&self) -> &Definition {
        &self.0.definition
    }

    /// Fetches one page. `credential` is the one that covers the job's account.
    ///
    /// # Errors
    /// A [`Failure`] of the class that the definition's rules give it.
    pub async fn fetch(&self, job: &PageJob, credential: Option<&Credential>) -> Result<Fetch, Failure> {
        self.fetch_unless(job, credential, None).await
    }

    /// The same; an answer of this imprint is not read.
    ///
    /// # Errors
    /// As [`Client::fetch`].
    pub async fn fetch_unless(
        &self,
        job: &PageJob,
        credential: Option<&Credential>,
        known: Option<&BodyDigest>,
    ) -> Result<Fetch, Failure> {
        let redacted = |failure: Failure| match credential {
            Some(credential) => Failure { message: credential.redact(failure.message), ..failure },
            None => failure,
        };
        match self.ask(job, credential, known).await {
            Ok(Fetch::Anew(failure)) => Ok(Fetch::Anew(redacted(failure))),
            fetched => fetched.map_err(redacted),
        }
    }

    async fn ask(
        &self,
        job: &PageJob,
        credential: Option<&Credential>,
        known: Option<&BodyDigest>,
    ) -> Result<Fetch, Failure> {
        let definition = &self.0.definition;
        let stream = definition.stream_of(job)?;
        let params = stream.params(job)?;
        let ask = Ask::new(definition, stream, &params, job, credential)?;
        match (&stream.pager, params.cursor) {
            (Pager::Task(task), None) => self.create(task, &ask).await,
            (Pager::Task(task), Some(id)) => self.poll(task, id, stream, &params, &ask).await,
            _ => {
                let (received, body) = self.send(ask.page()?, stream).await?;
                if (200..300).contains(&received.status)
                    && let Some(request_id) = known.and_then(|known| known.request_id_if_same(&body))
                {
                    let request_id = request_id.to_owned();
                    return Ok(Fetch::Same { request_id, budget: received.budget });
                }
                let mut page = self.page(stream, &params, &received, body)?;
                if let (Pager::Link { .. }, Some(link)) = (&stream.pager, &page.next) {
                    let secrets = credential.map(Credential::secrets).unwrap_or_default();
                    let link = definition.storable(stream, link.parse().expect("a URL made it"), &secrets);
                    page.next = Some(link.into());
                }
                Ok(Fetch::Page(Box::new(page)))
            }
        }
    }

    async fn create(&self, task: &Task, ask: &Ask<'_>) -> Result<Fetch, Failure> {
        let (received, body) = self.exchange(ask.page()?, None).await?;
        let envelope = answer::envelope(&self.0.definition, &task.created, &received, &body)
            .map_err(|failure| received.told(failure))?;
        let id = envelope.task_id.ok_or_else(|| Failure::transient("the answer names no task"))?;
        Ok(Fetch::Later { cursor: id.into_owned(), wait: task.every })
    }

    async fn poll(
        &self,
        task: &Task,
        id: &str,
        stream: &Stream,
        params: &Params<'_>,
        ask: &Ask<'_>,
    ) -> Result<Fetch, Failure> {
        let (received, body) = self.exchange(ask.poll(task, id)?, None).await?;
        let envelope = match answer::envelope(&self.0.definition, &task.polled, &received, &body) {
            Ok(envelope) => envelope,
            Err(Failure { class: FailureClass::Permanent, message, .. }) => {
                let what = format!("the API does not know the task, it seems: {message}");
                return Ok(Fetch::Anew(Failure::transient(what)));
            }
            Err(failure) => return Err(received.told(failure)),
        };
        let state = envelope.task_state.as_deref().unwrap_or_default();
        if task.failed.iter().any(|failed| failed == state) {
            return Ok(Fetch::Anew(Failure::transient(format!("the API's task ended as {state}"))));
        }
        if !task.done.iter().any(|done| done == state) {
            return Ok(Fetch::Later { cursor: id.to_owned(), wait: task.every });
        }
        if !task.file {
            return self
                .page(stream, params, &received, body.clone())
                .map(|page| Fetch::Page(Box::new(page)));
        }
        let url = envelope.task_url.and_then(|url| self.0.definition.url().join(&url).ok());
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| Failure::transient("the task is done, but names no file"))?;
        let from = place(&url);
        let (received, body) = self.exchange(ask.file(url)?, None).await?;
        if !(200..300).contains(&received.status) {
            // Its URL may have run out: the next look brings another.
            let what = format!("HTTP {} for the task's file, from {from}", received.status);
            return Err(Failure::transient(what));
        }
        self.page(stream, params, &received, body).map(|page| Fetch::Page(Box::new(page)))
    }

    fn page(
        &self,
        stream: &Stream,
        params: &Params<'_>,
        received: &Received,
        body: Bytes,
    ) -> Result<FetchedPage, Failure> {
        answer::page(&self.0.definition, stream, params, received, body)
            .map_err(|failure| received.told(failure))
    }

    async fn send(&self, request: Request, stream: &Stream) -> Result<(Received, Bytes), Failure> {
        self.exchange(request, stream.answer.total_header.as_ref()).await
    }

    /// Sends a request, and reads the answer to its end.
    pub(crate) async fn exchange(
        &self,
        request: Request,
        total: Option<&HeaderName>,
    ) -> Result<(Received, Bytes), Failure> {
        let Inner { definition, http, .. } = &*self.0;
        let Request { method, url, headers, body } = request;
        let place = place(&url);
        let mut builder = http.request(method, url.clone()).headers(headers);
        if let Some((kind, body)) = body {
            builder = builder.header(CONTENT_TYPE, kind).body(body);
        }
        let response =
            builder.send().await.map_err(|e| network::failure(e, &place, definition.limits.timeout))?;
        let received = Received {
            budget: definition.budget.as_ref().and_then(|names| budget(response.headers(), names)),
            ..received(&response, url, total)
        };
        let body = match self.body(response, &place).await {
            // The status says enough: what throttles, throttles even with half a body.
            Err(_) if !(200..300).contains(&received.status) => Bytes::new(),
            body => body?,
        };
        Ok((received, body))
    }

    /// Reads a body, decompressed, up to the limit.
    async fn body(&self, mut response: Response, place: &str) -> Result<Bytes, Failure> {
        let limits = self.0.definition.limits;
        let too_large = || Failure::permanent(format!("the answer is larger than {} bytes", limits.body));
        if response.content_length().is_some_and(|length| length > limits.body as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::with_capacity(self.0.last_size.load(Ordering::Relaxed));
        while let Some(chunk) =
            response.chunk().await.map_err(|e| network::failure(e, place, limits.timeout))?
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

impl Received {
    /// A failure with what the API said about waiting.
    fn told(&self, failure: Failure) -> Failure {
        // A budget that is used up says when to come again as well.
        let reset = self.budget.filter(|budget| budget.remaining == 0).map(|budget| budget.reset);
        let retry_after = self.retry_after.or(reset.filter(|_| failure.class == FailureClass::Throttled));
        Failure { retry_after, ..failure }
    }
}

fn received(response: &Response, url: Url, total: Option<&HeaderName>) -> Received {
    let headers = response.headers();
    let header = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let links: Vec<_> = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).collect();
    Received {
        status: response.status().as_u16(),
        content_type: header(&CONTENT_TYPE).map(str::to_owned),
        location: header(&LOCATION)
            .map(|to| to.parse().map_or_else(|_| "another path".into(), |to| place(&to))),
        retry_after: retry_after(headers),
        budget: None,
        total: total.and_then(header).map(str::to_owned),
        link: (!links.is_empty()).then(|| links.join(", ")),
        url: Some(url),
        replayed: false,
    }
}

/// Where no header says when it begins anew, within a second.
fn budget(headers: &HeaderMap, names: &BudgetHeaders) -> Option<Budget> {
    let number = |name: &HeaderName| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let reset = names.reset.as_ref().map_or(Some(1.0), number)?.clamp(0.0, LONGEST_RETRY_AFTER as f64);
    Some(Budget {
        remaining: number(&names.remaining)?.max(0.0) as u32,
        reset: Duration::from_secs_f64(reset),
    })
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST_RETRY_AFTER)))
}
