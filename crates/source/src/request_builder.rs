//! From a job to the request for its page.

use pagemill_core::{Failure, FailureClass, PageJob};
use reqwest::{Url, header::HeaderValue};
use secrecy::ExposeSecret;

use crate::{
    credential::Credential,
    definition::{Definition, Pager, Paging, Stream, Task},
    network::place,
    params::Params,
    request::Request,
    sign::Stamps,
    template::Values,
};

/// Builds the requests for a job.
pub(crate) struct RequestBuilder<'a> {
    definition: &'a Definition,
    stream: &'a Stream,
    params: &'a Params<'a>,
    job: &'a PageJob,
    credential: Option<&'a Credential>,
}

impl<'a> RequestBuilder<'a> {
    pub(crate) fn new(
        definition: &'a Definition,
        stream: &'a Stream,
        params: &'a Params<'a>,
        job: &'a PageJob,
        credential: Option<&'a Credential>,
    ) -> Result<Self, Failure> {
        if credential.is_none() && definition.needs_token() {
            let what = format!("source {} wants a token, and there is none", definition.name());
            return Err(Failure::new(FailureClass::Token, what));
        }
        Ok(Self { definition, stream, params, job, credential })
    }

    /// The request for a page, or the one that creates a task.
    pub(crate) fn page(&self) -> Result<Request, Failure> {
        let chained = matches!(self.stream.pager, Pager::Cursor { .. } | Pager::Link { .. });
        match self.params.cursor {
            None if chained && self.params.page > 1 => {
                Err(Failure::permanent(format!("page {} comes without its cursor", self.params.page)))
            }
            Some(link) if matches!(self.stream.pager, Pager::Link { .. }) => self.link(link),
            _ => self.own(),
        }
    }

    /// The request for the state of a task.
    pub(crate) fn poll(&self, task: &Task, id: &str) -> Result<Request, Failure> {
        let stamps = Stamps::now();
        let values = self.values(&stamps)?.with("task", id);
        self.proved(task.poll.render(self.definition.url(), &values, Vec::new())?, &stamps)
    }

    /// The request for a task's file. Only the source's own host gets the token.
    pub(crate) fn file(&self, url: Url) -> Result<Request, Failure> {
        let bare = Request { method: reqwest::Method::GET, url, headers: Default::default(), body: None };
        if bare.url.origin() == self.definition.url().origin() {
            return self.proved(bare, &Stamps::now());
        }
        Ok(bare)
    }

    fn own(&self) -> Result<Request, Failure> {
        let stamps = Stamps::now();
        let values = self.values(&stamps)?;
        let mut over = Vec::new();
        for (dimension, value) in &self.job.slice.part {
            let split = self.stream.split(dimension, value)?;
            over.push(split.set.render(&values.clone().with("value", value))?);
        }
        self.proved(self.stream.request.render(self.definition.url(), &values, over)?, &stamps)
    }

    fn link(&self, link: &str) -> Result<Request, Failure> {
        let (base, stamps) = (self.definition.url(), Stamps::now());
        let url: Url = link.parse().map_err(|_| Failure::permanent("the link to this page is no URL"))?;
        if url.origin() != base.origin() {
            let what = format!("a link leads from {} to {}, and is not followed", place(base), place(&url));
            return Err(Failure::permanent(what));
        }
        self.proved(self.stream.request.follow(url, &self.values(&stamps)?)?, &stamps)
    }

    fn values<'v>(&'v self, stamps: &'v Stamps) -> Result<Values<'v>, Failure> {
        let params = self.params;
        let page = match self.stream.pager {
            Pager::Page { first } => params.page_from(first)?,
            _ => params.page_from(1)?,
        };
        let offset = match self.stream.pager {
            Pager::Offset { first } => params.offset_from(first)?,
            _ => params.offset_from(0)?,
        };
        let mut values = Values::of_days(params.from, params.to)
            .with("account", params.account)
            .with("timestamp", &*stamps.timestamp)
            .with("timestamp_ms", &*stamps.timestamp_ms)
            .with("nonce", &*stamps.nonce);
        if self.stream.paging() != Paging::Single {
            values = values
                .with("page", page.to_string())
                .with("page_size", params.page_size.to_string())
                .with("offset", offset.to_string());
        }
        if let Some(cursor) = params.cursor {
            values = values.with("cursor", cursor);
        }
        if let Some(credential) = self.credential {
            values = values.with("token", credential.token.expose_secret());
        }
        Ok(values)
    }

    /// Puts the token into its header, and signs.
    fn proved(&self, mut request: Request, stamps: &Stamps) -> Result<Request, Failure> {
        let (Some(auth), Some(credential)) = (self.definition.auth(), self.credential) else {
            return Ok(request);
        };
        if let Some(header) = &auth.header {
            let value = format!("{}{}", auth.prefix, credential.token.expose_secret());
            let mut value = HeaderValue::from_str(&value).map_err(|_| {
                let source = self.definition.name();
                let what =
                    format!("the token of source {source} holds characters that no HTTP header can carry");
                Failure::new(FailureClass::Token, what)
            })?;
            value.set_sensitive(true);
            request.headers.insert(header.clone(), value);
        }
        if let Some(sign) = &auth.sign {
            sign.apply(&mut request, credential.secret.as_ref(), stamps)?;
        }
        Ok(request)
    }
}

impl Definition {
    /// The request for a job as text, for people: with `***` for the token.
    ///
    /// # Errors
    /// What keeps the job from being requested.
    pub fn describe_request(&self, job: &PageJob) -> Result<String, Failure> {
        let stream = self.stream_of(job)?;
        let params = stream.params(job)?;
        let credential = Credential { token: "***".into(), secret: Some("***".into()) };
        let request = RequestBuilder::new(self, stream, &params, job, Some(&credential))?.page()?;
        let mut text = format!("{} {}", request.method, request.url);
        for (name, value) in &request.headers {
            text.push_str(&format!("\n{name}: {}", value.to_str().unwrap_or("?")));
        }
        if let Some((kind, body)) = &request.body {
            text.push_str(&format!("\ncontent-type: {kind}\n{body}"));
        }
        Ok(text)
    }
}
