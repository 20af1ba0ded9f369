//! From what is written to what is used: everything that can be wrong with a definition is found
//! here, before a request is sent.

use std::{collections::BTreeMap, time::Duration};

use jiff::tz::TimeZone;
use regex::Regex;
use reqwest::Url;

use super::{
    Definition, Limits, Stream, answer, auth,
    document::{ClassDoc, Document, LimitsDoc, NumbersDoc, PercentDoc, QuotaDoc, RuleDoc},
    error::Wrong,
    rate::RateDoc,
    stream::{Source, api_names},
    words::{OneOrMany, Scalar, check_short_name},
};
use crate::{grammar::Grammar, rules::Rule, value::Reader};

/// A page is waited for this long, from connecting to its last byte.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The largest body, decompressed.
const LARGEST_BODY: usize = 16 << 20;

/// Checks a definition and makes it usable.
pub(super) fn definition(document: Document) -> Result<Definition, Wrong> {
    let Document {
        name,
        title,
        base_url,
        time_zone,
        auth,
        rate: RateDoc(rate),
        limits,
        params,
        numbers,
        answer,
        errors,
        columns,
        _defaults,
        stream,
    } = document;
    check_short_name(&name).map_err(|e| Wrong::at(["name"], e))?;
    let base_url = base(&base_url).map_err(|e| Wrong::at(["base_url"], e))?;
    let zone = TimeZone::get(&time_zone).map_err(|e| Wrong::at(["time_zone"], e.to_string()))?;
    let reader = Reader { grammar: grammar(numbers)?, zone };
    rate.check().map_err(|e| e.within(&["rate"]))?;
    if stream.is_empty() {
        return Err(Wrong::at(["stream"], "a source needs at least one stream"));
    }
    let auth = auth.map(|auth| auth::compile(auth, &base_url, &params)).transpose()?;
    let source = Source {
        name: &name,
        base_url: &base_url,
        groups: &columns,
        reader: &reader,
        params: &params,
        api_names: &api_names(&columns),
    };
    let mut streams = BTreeMap::new();
    for (name, document) in stream {
        let stream = source.stream(&name, document).map_err(|e| e.within(&["stream", &name]))?;
        if auth.is_none() && stream.asks_with(&["token"]) {
            let what = "a {token} in a request, and no [auth]: write [auth] kind = \"token\"";
            return Err(Wrong::at(["stream", &name], what));
        }
        let same = |other: &&Stream| other.table.name == stream.table.name;
        if let Some(other) = streams.values().find(same) {
            let what = format!("the table {} is already filled by stream {}", stream.table.name, other.name);
            return Err(Wrong::at(["stream", &name, "table"], what));
        }
        streams.insert(name, stream);
    }
    let nowhere = auth.as_ref().is_some_and(|auth| auth.header.is_none() && auth.sign.is_none());
    if nowhere && !streams.values().any(|stream| stream.asks_with(&["token"])) {
        let what = "the token goes nowhere: name a header, or write {token} into query or body";
        return Err(Wrong::at(["auth"], what));
    }
    Ok(Definition {
        title,
        zone_name: time_zone,
        auth,
        params,
        budget: rate.budget_headers()?,
        rate,
        limits: self::limits(limits)?,
        answer: answer::compile(&answer, false, &[])?,
        rules: rules(errors)?,
        streams,
        name,
        base_url,
        reader,
    })
}

fn base(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|e| format!("\"{text}\" is no URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("\"{text}\": write https://host, perhaps with a path"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL here holds no user and no password: the token goes by auth".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("\"{text}\": no query and no fragment here"));
    }
    Ok(url)
}

fn limits(document: LimitsDoc) -> Result<Limits, Wrong> {
    let timeout = document.timeout.map_or(TIMEOUT, |span| span.get());
    if timeout.is_zero() {
        return Err(Wrong::at(["limits", "timeout"], "a timeout is above 0"));
    }
    let body = document.body.unwrap_or(LARGEST_BODY);
    if body == 0 || body > 1 << 30 {
        return Err(Wrong::at(["limits", "body"], format!("{body}: bytes, at most 1 GiB")));
    }
    Ok(Limits { timeout, body })
}

fn grammar(document: NumbersDoc) -> Result<Grammar, Wrong> {
    let NumbersDoc { percent, thousands, currency: OneOrMany(currency), null: OneOrMany(null) } = document;
    let thousands = match thousands.as_deref().map(str::as_bytes) {
        None => None,
        Some([separator @ (b',' | b' ' | b'_' | b'\'')]) => Some(*separator),
        Some(_) => return Err(Wrong::at(["numbers", "thousands"], "one of \",\", \" \", \"_\" and \"'\"")),
    };
    if currency.iter().any(|sign| sign.is_empty() || sign.contains(|c: char| c.is_ascii_digit() || c == '-'))
    {
        return Err(Wrong::at(
            ["numbers", "currency"],
            "a currency sign is not empty, no digit and no minus",
        ));
    }
    Ok(Grammar {
        percent: match percent {
            Some(PercentDoc::Ratio) => true,
            None => false,
        },
        thousands,
        currency,
        longest_null: null.iter().map(String::len).max().unwrap_or(0),
        null_digits: null.iter().any(|text| text.starts_with(|c: char| c.is_ascii_digit())),
        null,
    })
}

fn rules(documents: Vec<RuleDoc>) -> Result<Vec<Rule>, Wrong> {
    let rule = |(i, document): (usize, RuleDoc)| {
        let RuleDoc { class, status: OneOrMany(status), code: OneOrMany(code), message, quota } = document;
        let number = i.to_string();
        if quota != QuotaDoc::App && !matches!(class, ClassDoc::Throttled) {
            return Err(Wrong::at(["errors", &number, "quota"], "only a throttled answer speaks of a quota"));
        }
        if status.is_empty() && code.is_empty() && message.is_none() {
            return Err(Wrong::at(["errors", &number], "a rule names a status, a code or a message"));
        }
        let message = message.as_deref().map(Regex::new).transpose();
        Ok(Rule {
            class: class.into(),
            quota: quota.into(),
            status,
            code: code.into_iter().map(|Scalar(code)| code).collect(),
            message: message
                .map_err(|e| Wrong::at(["errors", &number, "message"], one_line(&e.to_string())))?,
        })
    };
    documents.into_iter().enumerate().map(rule).collect()
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
