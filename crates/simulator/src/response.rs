use std::{
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use hyper::{
    StatusCode,
    body::{Body, Frame, SizeHint},
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};

/// A response to the client. A clone shares the body.
#[derive(Clone)]
pub(crate) struct Response {
    status: StatusCode,
    kind: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Content,
}

impl Response {
    pub(crate) fn new(status: StatusCode, kind: &'static str, body: Bytes) -> Self {
        Self {
            status,
            kind,
            headers: Vec::new(),
            body: Content { length: body.len() as u64, next: Next::All(body) },
        }
    }

    pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(status, "application/json; charset=utf-8", body.into())
    }

    /// What a gateway in front of the API sends when it is ill, with a status as if all were well.
    pub(crate) fn garbage() -> Self {
        let body = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>\r\n";
        Self::new(StatusCode::OK, "text/html", body.into())
    }

    /// With a further header; one whose value no header can hold is left out.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }

    /// With the status 200.
    pub(crate) fn with_status_ok(mut self) -> Self {
        self.status = StatusCode::OK;
        self
    }

    /// With its body compressed.
    pub(crate) fn gzipped(mut self) -> Self {
        if let Next::All(body) = &self.body.next {
            let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
            // Writing into a vector cannot fail.
            let _ = zipped.write_all(body);
            let zipped = Bytes::from(zipped.finish().unwrap_or_default());
            self.body = Content { length: zipped.len() as u64, next: Next::All(zipped) };
        }
        self.with("content-encoding", "gzip")
    }

    /// Breaks off in the middle: the length is promised, half of it is sent.
    pub(crate) fn broken(mut self) -> Self {
        if let Next::All(body) = self.body.next {
            self.body.next = Next::Half(body.slice(..body.len() / 2));
        }
        self
    }

    /// Bytes of its body.
    pub(crate) fn len(&self) -> u64 {
        self.body.length
    }

    pub(crate) fn into_hyper(self) -> hyper::Response<Content> {
        let mut response = hyper::Response::new(self.body);
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        response.headers_mut().extend(self.headers);
        response
    }
}

/// A body of known length that may not come to its end.
#[derive(Clone)]
pub(crate) struct Content {
    length: u64,
    next: Next,
}

#[derive(Clone)]
enum Next {
    All(Bytes),
    Half(Bytes),
    /// Waits one turn, in which the connection sends what it has.
    Flush,
    Break,
    End,
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match std::mem::replace(&mut self.next, Next::End) {
            Next::All(body) => Poll::Ready(Some(Ok(Frame::data(body)))),
            Next::Half(body) => {
                self.next = Next::Flush;
                Poll::Ready(Some(Ok(Frame::data(body))))
            }
            Next::Flush => {
                self.next = Next::Break;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Next::Break => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
            Next::End => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.next, Next::End)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.next {
            Next::All(body) => body.len() as u64,
            Next::Half(_) => self.length,
            Next::Flush | Next::Break | Next::End => 0,
        })
    }
}
