//! Fetches pages from a source's API.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use pagemill_core::{BodyDigest, Budget, Failure, FailureClass, FetchedPage, PageJob};
use reqwest::header::HeaderName;

use crate::{
    credential::Credential,
    definition::{Definition, Pager, Stream, Task},
    http::Http,
    network::place,
    params::Params,
    request::Request,
    request_builder::RequestBuilder,
    response::{self, ResponseHead},
};

/// Fetches pages from a source's API. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    definition: Arc<Definition>,
    http: Http,
}

/// What a request for a page came to.
#[derive(Debug)]
pub enum Fetch {
    /// A page.
    Page(Box<FetchedPage>),
    /// The body has the digest that the caller knows: only the id of the request differs.
    Unchanged {
        /// The API's id of the request; empty where it gives none.
        request_id: String,
        /// What the API says is left of its quota.
        budget: Option<Budget>,
    },
    /// The API still prepares the report: the job is to come back with this cursor after the wait. No attempt is
    /// spent.
    Preparing {
        /// The task's id.
        cursor: String,
        /// How long to wait.
        wait: Duration,
    },
    /// The task that the job's cursor names failed, or the API no longer knows it: the job is to come back without
    /// a cursor, as another attempt.
    RestartTask(Failure),
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
        let http = Http::new(definition.limits)?;
        Ok(Self(Arc::new(Inner { definition, http })))
    }

    pub(crate) fn definition(&self) -> &Definition {
        &self.0.definition
    }

    /// Fetches one page. `credential` is the one that covers the job's account.
    ///
    /// # Errors
    /// A [`Failure`] of the class that the definition's rules give it.
    pub async fn fetch(&self, job: &PageJob, credential: Option<&Credential>) -> Result<Fetch, Failure> {
        self.fetch_if_changed(job, credential, None).await
    }

    /// Fetches one page; a response whose body has this digest is not decoded.
    ///
    /// # Errors
    /// As [`Client::fetch`].
    pub async fn fetch_if_changed(
        &self,
        job: &PageJob,
        credential: Option<&Credential>,
        known: Option<&BodyDigest>,
    ) -> Result<Fetch, Failure> {
        let redacted = |failure: Failure| match credential {
            Some(credential) => Failure { message: credential.redact(failure.message), ..failure },
            None => failure,
        };
        match self.request(job, credential, known).await {
            Ok(Fetch::RestartTask(failure)) => Ok(Fetch::RestartTask(redacted(failure))),
            fetched => fetched.map_err(redacted),
        }
    }

    async fn request(
        &self,
        job: &PageJob,
        credential: Option<&Credential>,
        known: Option<&BodyDigest>,
    ) -> Result<Fetch, Failure> {
        let definition = &self.0.definition;
        let stream = definition.stream_of(job)?;
        let params = stream.params(job)?;
        let requests = RequestBuilder::new(definition, stream, &params, job, credential)?;
        match (&stream.pager, params.cursor) {
            (Pager::Task(task), None) => self.create(task, &requests).await,
            (Pager::Task(task), Some(id)) => self.poll(task, id, stream, &params, &requests).await,
            _ => {
                let total = stream.response.total_header.as_ref();
                let (head, body) = self.exchange(requests.page()?, total).await?;
                if (200..300).contains(&head.status)
                    && let Some(request_id) = known.and_then(|known| known.request_id_if_same(&body))
                {
                    let request_id = request_id.to_owned();
                    return Ok(Fetch::Unchanged { request_id, budget: head.budget });
                }
                let mut page = self.page(stream, &params, &head, body)?;
                if let (Pager::Link { .. }, Some(link)) = (&stream.pager, &page.next) {
                    let secrets = credential.map(Credential::secrets).unwrap_or_default();
                    let link = definition.storable(stream, link.parse().expect("a URL made it"), &secrets);
                    page.next = Some(link.into());
                }
                Ok(Fetch::Page(Box::new(page)))
            }
        }
    }

    async fn create(&self, task: &Task, requests: &RequestBuilder<'_>) -> Result<Fetch, Failure> {
        let (head, body) = self.exchange(requests.page()?, None).await?;
        let envelope = response::envelope(&self.0.definition, &task.created, &head, &body)
            .map_err(|failure| head.with_retry_after(failure))?;
        let id = envelope.task_id.ok_or_else(|| Failure::transient("the response names no task"))?;
        Ok(Fetch::Preparing { cursor: id.into_owned(), wait: task.poll_every })
    }

    async fn poll(
        &self,
        task: &Task,
        id: &str,
        stream: &Stream,
        params: &Params<'_>,
        requests: &RequestBuilder<'_>,
    ) -> Result<Fetch, Failure> {
        let (head, body) = self.exchange(requests.poll(task, id)?, None).await?;
        let envelope = match response::envelope(&self.0.definition, &task.polled, &head, &body) {
            Ok(envelope) => envelope,
            Err(Failure { class: FailureClass::Permanent, message, .. }) => {
                let what = format!("the API does not know the task, it seems: {message}");
                return Ok(Fetch::RestartTask(Failure::transient(what)));
            }
            Err(failure) => return Err(head.with_retry_after(failure)),
        };
        let state = envelope.task_state.as_deref().unwrap_or_default();
        if task.failed.iter().any(|failed| failed == state) {
            return Ok(Fetch::RestartTask(Failure::transient(format!("the API's task ended as {state}"))));
        }
        if !task.done.iter().any(|done| done == state) {
            return Ok(Fetch::Preparing { cursor: id.to_owned(), wait: task.poll_every });
        }
        if !task.file {
            return self.page(stream, params, &head, body.clone()).map(|page| Fetch::Page(Box::new(page)));
        }
        let url = envelope.task_file_url.and_then(|url| self.0.definition.url().join(&url).ok());
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| Failure::transient("the task is done, but names no file"))?;
        let from = place(&url);
        let (head, body) = self.exchange(requests.file(url)?, None).await?;
        if !(200..300).contains(&head.status) {
            // Its URL may have run out: the next look brings another.
            let what = format!("HTTP {} for the task's file, from {from}", head.status);
            return Err(Failure::transient(what));
        }
        self.page(stream, params, &head, body).map(|page| Fetch::Page(Box::new(page)))
    }

    fn page(
        &self,
        stream: &Stream,
        params: &Params<'_>,
        head: &ResponseHead,
        body: Bytes,
    ) -> Result<FetchedPage, Failure> {
        response::page(&self.0.definition, stream, params, head, body)
            .map_err(|failure| head.with_retry_after(failure))
    }

    /// Sends a request, and reads the response to its end.
    pub(crate) async fn exchange(
        &self,
        request: Request,
        total: Option<&HeaderName>,
    ) -> Result<(ResponseHead, Bytes), Failure> {
        let Inner { definition, http } = &*self.0;
        http.exchange(request, total, definition.budget.as_ref()).await
    }
}
