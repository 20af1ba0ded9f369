//! Checks a request.

use reqwest::{
    Method, Url,
    header::{HeaderName, HeaderValue},
};

use crate::{
    definition::{
        document::request::{ArraysDoc, EncodingDoc, MethodDoc, RequestDoc},
        error::Wrong,
    },
    request::{Arrays, RequestPlan},
    template::{Scope, Template, TemplateError},
};

pub(super) fn compile(document: &RequestDoc, base_url: &Url, scope: Scope<'_>) -> Result<RequestPlan, Wrong> {
    let RequestDoc { path, method, encoding, query, body, headers, arrays } = document;
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return Err(Wrong::at(["path"], "a path starts with / and has no ? or #"));
    }
    let url = format!("{}{path}", base_url.as_str().trim_end_matches('/'));
    url.parse::<Url>().map_err(|e| Wrong::at(["path"], format!("{url}: {e}")))?;
    let get = matches!(method, MethodDoc::Get);
    if get && body.is_some() {
        return Err(Wrong::at(["body"], "a GET has no body: write query, or method = \"POST\""));
    }
    let wrong = |key: &'static str| {
        move |TemplateError { path, what }: TemplateError| Wrong { path, what }.within(&[key])
    };
    let header = |(name, text): (&String, &String)| {
        let at = |what: String| Wrong::at(["headers", name], what);
        HeaderValue::from_str(text).map_err(|_| at("not fit for a header: visible ASCII only".into()))?;
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| at("no header's name".into()))?;
        Ok((key, Template::of_text(text, scope).map_err(|e| at(e.what))?))
    };
    Ok(RequestPlan {
        method: if get { Method::GET } else { Method::POST },
        form: matches!(encoding, EncodingDoc::Form),
        path: Template::of_text(path, scope).map_err(wrong("path"))?,
        query: Template::of_table(query, scope).map_err(wrong("query"))?,
        body: body.as_ref().map(|body| Template::of_table(body, scope)).transpose().map_err(wrong("body"))?,
        headers: headers.iter().map(header).collect::<Result<_, Wrong>>()?,
        arrays: match arrays {
            ArraysDoc::Json => Arrays::Json,
            ArraysDoc::Repeat => Arrays::Repeat,
            ArraysDoc::Brackets => Arrays::Brackets,
            ArraysDoc::Comma => Arrays::Comma,
        },
    })
}
