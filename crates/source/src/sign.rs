//! Signatures of requests.

use std::collections::BTreeMap;

use pagemill_core::{Failure, FailureClass};
use reqwest::header::{HeaderName, HeaderValue};
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use toml::Table;

use crate::{
    request::Request,
    template::{Scope, Template, Values},
};

/// How requests are signed: HMAC-SHA256 over a text made of the request's parts, in hexadecimal.
#[derive(Debug)]
pub(crate) struct Sign {
    place: SignPlace,
    text: Template,
}

/// Where the signature goes.
#[derive(Debug)]
pub(crate) enum SignPlace {
    Query(String),
    Header(HeaderName),
}

const NAMES: [&str; 6] = ["method", "path", "query", "body", "timestamp", "nonce"];

impl Sign {
    /// Compiles the text that is signed; an error says what is wrong with it.
    pub(crate) fn new(place: SignPlace, text: &str) -> Result<Self, String> {
        let scope = Scope { names: &NAMES, days: false, params: &Table::new(), columns: &BTreeMap::new() };
        Template::of_text(text, scope).map(|text| Self { place, text }).map_err(|e| e.what)
    }

    /// The query's key that carries the signature.
    pub(crate) fn key(&self) -> Option<&str> {
        match &self.place {
            SignPlace::Query(key) => Some(key),
            SignPlace::Header(_) => None,
        }
    }

    /// Signs a request; `stamps` hold its timestamp and nonce.
    pub(crate) fn apply(
        &self,
        request: &mut Request,
        secret: Option<&SecretString>,
        stamps: &Stamps,
    ) -> Result<(), Failure> {
        let missing = || Failure::new(FailureClass::Token, "requests are signed, and there is no secret");
        let secret = secret.ok_or_else(missing)?;
        let mut query = request.pairs();
        query.sort();
        let query: Vec<_> = query.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let values = Values::default()
            .with("method", request.method.as_str().to_owned())
            .with("path", request.url.path().to_owned())
            .with("query", query.join("&"))
            .with("body", request.body.as_ref().map(|(_, body)| body.clone()).unwrap_or_default())
            .with("timestamp", &*stamps.timestamp)
            .with("nonce", &*stamps.nonce);
        let text = self.text.text(&values, |text| text.to_owned())?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let signature = hex(hmac::sign(&key, text.as_bytes()).as_ref());
        match &self.place {
            SignPlace::Query(key) => request.add_query(&[(key.clone(), signature)]),
            SignPlace::Header(name) => {
                let value = HeaderValue::from_str(&signature).expect("hexadecimal digits");
                request.headers.insert(name.clone(), value);
            }
        }
        Ok(())
    }
}

/// What is new with each request.
pub(crate) struct Stamps {
    /// Seconds.
    pub(crate) timestamp: String,
    pub(crate) timestamp_ms: String,
    pub(crate) nonce: String,
}

impl Stamps {
    /// Those of a request sent now.
    pub(crate) fn now() -> Self {
        use ring::rand::{SecureRandom, SystemRandom};
        let now = jiff::Timestamp::now();
        let mut nonce = [0; 16];
        SystemRandom::new().fill(&mut nonce).expect("the system has random numbers");
        Self {
            timestamp: now.as_second().to_string(),
            timestamp_ms: now.as_millisecond().to_string(),
            nonce: hex(&nonce),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::*;

    #[test]
    fn a_signature_covers_the_request() {
        let sign = Sign::new(
            SignPlace::Query("sign".into()),
            "{method}\n{path}\n{query}\n{body}\n{timestamp}{nonce}",
        )
        .unwrap();
        let mut request = Request {
            method: Method::POST,
            url: "https://api.example.com/v1/rows?z=1&a=b%20c".parse().unwrap(),
            headers: Default::default(),
            body: Some(("application/json", "{}".into())),
        };
        let stamps =
            Stamps { timestamp: "1790000000".into(), timestamp_ms: String::new(), nonce: "ff".into() };
        sign.apply(&mut request, Some(&"key".into()), &stamps).unwrap();
        let text = "POST\n/v1/rows\na=b c&z=1\n{}\n1790000000ff";
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let signature = hex(hmac::sign(&key, text.as_bytes()).as_ref());
        assert_eq!(request.pairs().last().unwrap(), &("sign".to_owned(), signature));
        assert_eq!(sign.apply(&mut request, None, &stamps).unwrap_err().class, FailureClass::Token);
    }

    #[test]
    fn hmac_as_the_rfc_has_it() {
        // RFC 4231, test case 2.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        assert_eq!(
            hex(hmac::sign(&key, b"what do ya want for nothing?").as_ref()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
