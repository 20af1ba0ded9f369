//! From a plan to a request: method, URL, headers, body.

use pagemill_core::Failure;
use reqwest::{
    Method, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Map, Value as Json};

use crate::template::{Template, Values, scalar_text};

/// A request before its placeholders are filled.
#[derive(Debug)]
pub(crate) struct RequestPlan {
    pub(crate) method: Method,
    pub(crate) form: bool,
    pub(crate) path: Template,
    pub(crate) query: Template,
    pub(crate) body: Option<Template>,
    pub(crate) headers: Vec<(HeaderName, Template)>,
    pub(crate) arrays: Arrays,
}

/// How an array is written in a query or form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Arrays {
    /// `k=[1,2]`
    #[default]
    Json,
    /// `k=1&k=2`
    Repeat,
    /// `k[]=1&k[]=2`
    Brackets,
    /// `k=1,2`
    Comma,
}

/// A request, ready to be signed and sent. It holds the token, so it has no `Debug`.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// Content type and text.
    pub(crate) body: Option<(&'static str, String)>,
}

/// What is written anew into each request, or is nobody else's business.
const VOLATILE: [&str; 4] = ["token", "timestamp", "timestamp_ms", "nonce"];

impl RequestPlan {
    /// A request below the base URL; `over` goes over its body, or over its query if it has no body.
    pub(crate) fn render(
        &self,
        base: &Url,
        values: &Values<'_>,
        over: Vec<Json>,
    ) -> Result<Request, Failure> {
        let path = self.path.text(values, escape)?;
        if path.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(Failure::permanent("a part of the path would be . or .."));
        }
        let url = format!("{}{path}", base.as_str().trim_end_matches('/'));
        let url = url.parse().map_err(|_| Failure::permanent("the path makes no URL"))?;
        let mut query = self.query.render(values)?;
        let mut body = self.body.as_ref().map(|body| body.render(values)).transpose()?;
        let under = body.as_mut().unwrap_or(&mut query);
        over.into_iter().for_each(|over| put_over(under, over));
        self.request(url, &query, body, values)
    }

    /// A request for a URL that the API named. What is new with each request is set anew.
    pub(crate) fn follow(&self, url: Url, values: &Values<'_>) -> Result<Request, Failure> {
        let body = self.body.as_ref().map(|body| body.render(values)).transpose()?;
        let volatile = Json::Object(self.volatile(values)?);
        self.request(url, &volatile, body, values)
    }

    /// Takes out of a URL what is set anew when it is followed: it may be stored then.
    pub(crate) fn without_volatile(&self, mut url: Url, sign: Option<&str>, secrets: &[&str]) -> Url {
        let own: Vec<_> = match &self.query {
            Template::Table(entries) => {
                entries.iter().filter(|(_, v)| v.names(&VOLATILE)).map(|(key, _)| key.as_str()).collect()
            }
            _ => Vec::new(),
        };
        let drop = |key: &str, value: &str| {
            own.contains(&key) || sign == Some(key) || secrets.iter().any(|secret| value.contains(secret))
        };
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        if pairs.iter().any(|(key, value)| drop(key, value)) {
            url.set_query(None);
            let kept = pairs.into_iter().filter(|(key, value)| !drop(key, value));
            extend(&mut url, &kept.collect::<Vec<_>>());
        }
        url
    }

    /// Whether one of these names fills one of its placeholders.
    pub(crate) fn names(&self, names: &[&str]) -> bool {
        let body = self.body.as_ref().is_some_and(|body| body.names(names));
        let headers = self.headers.iter().any(|(_, value)| value.names(names));
        body || headers || self.path.names(names) || self.query.names(names)
    }

    fn volatile(&self, values: &Values<'_>) -> Result<Map<String, Json>, Failure> {
        let Template::Table(entries) = &self.query else { return Ok(Map::new()) };
        let volatile = entries.iter().filter(|(_, value)| value.names(&VOLATILE));
        volatile.map(|(key, value)| Ok((key.clone(), value.render(values)?))).collect()
    }

    fn request(
        &self,
        mut url: Url,
        query: &Json,
        body: Option<Json>,
        values: &Values<'_>,
    ) -> Result<Request, Failure> {
        extend(&mut url, &self.pairs(query));
        let body = body.map(|body| match self.form {
            false => ("application/json", body.to_string()),
            true => ("application/x-www-form-urlencoded", encoded(&self.pairs(&body))),
        });
        let mut headers = HeaderMap::new();
        for (name, template) in &self.headers {
            let value = HeaderValue::from_str(&template.text(values, |text| text.to_owned())?);
            let mut value =
                value.map_err(|_| Failure::permanent(format!("the header {name} cannot be written")))?;
            value.set_sensitive(template.names(&VOLATILE));
            headers.insert(name.clone(), value);
        }
        Ok(Request { method: self.method.clone(), url, headers, body })
    }

    /// A table as keys and texts.
    fn pairs(&self, table: &Json) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for (key, value) in table.as_object().into_iter().flatten() {
            let text = |value: &Json| scalar_text(value).unwrap_or_else(|| value.to_string());
            match (value, self.arrays) {
                (Json::Array(items), Arrays::Repeat) => {
                    pairs.extend(items.iter().map(|item| (key.clone(), text(item))));
                }
                (Json::Array(items), Arrays::Brackets) => {
                    pairs.extend(items.iter().map(|item| (format!("{key}[]"), text(item))));
                }
                (Json::Array(items), Arrays::Comma) => {
                    pairs.push((key.clone(), items.iter().map(text).collect::<Vec<_>>().join(",")));
                }
                (value, _) => pairs.push((key.clone(), text(value))),
            }
        }
        pairs
    }
}

impl Request {
    /// The query's keys and values, not encoded.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        self.url.query_pairs().into_owned().collect()
    }

    /// Adds to the query; a key that is there already is replaced.
    pub(crate) fn add_query(&mut self, pairs: &[(String, String)]) {
        extend(&mut self.url, pairs);
    }
}

/// Adds to a URL's query, and leaves the rest of it as it is written.
fn extend(url: &mut Url, pairs: &[(String, String)]) {
    if pairs.is_empty() {
        return;
    }
    let new = |key: &str| pairs.iter().any(|(new, _)| new == key);
    if url.query_pairs().any(|(key, _)| new(&key)) {
        let kept: Vec<_> = url.query_pairs().into_owned().filter(|(key, _)| !new(key)).collect();
        url.set_query(None);
        url.query_pairs_mut().extend_pairs(kept);
    }
    url.query_pairs_mut().extend_pairs(pairs);
}

fn encoded(pairs: &[(String, String)]) -> String {
    let mut url: Url = "form:".parse().expect("a constant URL");
    extend(&mut url, pairs);
    url.query().unwrap_or_default().to_owned()
}

/// What fills a placeholder of a path stays within its part of the path.
pub(crate) fn escape(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Puts one value over another: objects are merged, arrays joined, anything else is replaced.
fn put_over(under: &mut Json, over: Json) {
    match (under, over) {
        (Json::Object(under), Json::Object(over)) => {
            for (key, value) in over {
                match under.get_mut(&key) {
                    Some(under) => put_over(under, value),
                    None => drop(under.insert(key, value)),
                }
            }
        }
        (Json::Array(under), Json::Array(over)) => under.extend(over),
        (under, over) => *under = over,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(arrays: Arrays) -> RequestPlan {
        let text = |text: &str| Template::Literal(text.into());
        RequestPlan {
            method: Method::GET,
            form: false,
            path: text("/rows"),
            query: Template::Table(Vec::new()),
            body: None,
            headers: Vec::new(),
            arrays,
        }
    }

    #[test]
    fn arrays_in_every_style() {
        let table = json!({ "k": [1, "a b"], "o": { "x": [1] }, "t": true, "u": "ü&=" });
        for (arrays, text) in [
            (Arrays::Json, "k=%5B1%2C%22a+b%22%5D"),
            (Arrays::Repeat, "k=1&k=a+b"),
            (Arrays::Brackets, "k%5B%5D=1&k%5B%5D=a+b"),
            (Arrays::Comma, "k=1%2Ca+b"),
        ] {
            let rest = "&o=%7B%22x%22%3A%5B1%5D%7D&t=true&u=%C3%BC%26%3D";
            assert_eq!(encoded(&plan(arrays).pairs(&table)), format!("{text}{rest}"));
        }
    }

    #[test]
    fn a_part_goes_over_the_request() {
        let mut body = json!({ "a": 1, "list": [1], "in": { "x": 1, "y": 2 } });
        put_over(&mut body, json!({ "a": 2, "list": [2], "in": { "y": 3 }, "new": [4] }));
        assert_eq!(body, json!({ "a": 2, "list": [1, 2], "in": { "x": 1, "y": 3 }, "new": [4] }));
    }

    #[test]
    fn what_fills_a_path_stays_within_it() {
        let base = "https://api.example.com/v1/".parse().unwrap();
        let url = |account: &str| {
            let piece = crate::template::Piece::Placeholder(crate::template::Placeholder::Named("account"));
            let mut plan = plan(Arrays::Json);
            plan.path = Template::Text(vec![crate::template::Piece::Literal("/act/".into()), piece]);
            plan.render(&base, &Values::default().with("account", account), Vec::new())
                .map(|request| request.url.to_string())
        };
        assert_eq!(url("1001").unwrap(), "https://api.example.com/v1/act/1001");
        assert_eq!(url("../x?y#z%2e").unwrap(), "https://api.example.com/v1/act/..%2Fx%3Fy%23z%252e");
        assert!(url("..").is_err());
    }

    #[test]
    fn a_link_is_stored_without_secrets() {
        let url: Url = "https://h/x?after=1%202&access_token=abc&sign=f".parse().unwrap();
        let stored = plan(Arrays::Json).without_volatile(url.clone(), Some("sign"), &["abc"]);
        assert_eq!(stored.as_str(), "https://h/x?after=1+2");
        assert_eq!(plan(Arrays::Json).without_volatile(url.clone(), None, &[]), url, "else as it is");
    }
}
