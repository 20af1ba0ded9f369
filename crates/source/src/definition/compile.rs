//! From what is written to what is used: everything that can be wrong with a definition is found
//! here, before a request is sent.

use std::{collections::BTreeMap, time::Duration};

use jiff::tz::TimeZone;
use regex::Regex;
use reqwest::{
    Url,
    header::{HeaderName, HeaderValue},
};

use super::{
    Answer, Auth, Definition, Limits, Rate, Stream, columns,
    document::{
        AnswerDoc, AuthDoc, ColumnDoc, Document, EncodingDoc, LimitsDoc, MethodDoc, NumbersDoc, PagerDoc,
        PercentDoc, RateDoc, RuleDoc, StreamDoc,
    },
    error::Wrong,
    words::{OneOrMany, Scalar, check_identifier, check_short_name},
};
use crate::{
    decode::{AnswerPlan, Field},
    grammar::Grammar,
    rules::Rule,
    template::Template,
    trie::Clash,
    value::Reader,
};

/// A page is waited for this long, from connecting to its last byte.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The largest body, decompressed.
const LARGEST_BODY: usize = 16 << 20;

/// No page is planned larger.
const LARGEST_PAGE: u32 = 10_000;

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
        numbers,
        answer,
        errors,
        columns,
        stream,
    } = document;
    check_short_name(&name).map_err(|e| Wrong::at(["name"], e))?;
    let base_url = base(&base_url).map_err(|e| Wrong::at(["base_url"], e))?;
    let zone = TimeZone::get(&time_zone).map_err(|e| Wrong::at(["time_zone"], e.to_string()))?;
    let reader = Reader { grammar: grammar(numbers)?, zone };
    check_rate(rate)?;
    if stream.is_empty() {
        return Err(Wrong::at(["stream"], "a source needs at least one stream"));
    }
    let source = Source { name: &name, base_url: &base_url, groups: &columns, reader: &reader };
    let mut streams = BTreeMap::new();
    for (name, document) in stream {
        let stream = source.stream(&name, document).map_err(|e| e.within(&["stream", &name]))?;
        let same = |other: &&Stream| other.table.name == stream.table.name;
        if let Some(other) = streams.values().find(same) {
            let what = format!("the table {} is already filled by stream {}", stream.table.name, other.name);
            return Err(Wrong::at(["stream", &name, "table"], what));
        }
        streams.insert(name, stream);
    }
    Ok(Definition {
        title,
        zone_name: time_zone,
        auth: auth.map(self::auth).transpose()?,
        rate,
        limits: self::limits(limits)?,
        answer: self::answer(answer)?,
        rules: rules(errors)?,
        streams,
        name,
        base_url,
        reader,
    })
}

/// What the streams of a source share.
struct Source<'a> {
    name: &'a str,
    base_url: &'a Url,
    groups: &'a BTreeMap<String, Vec<ColumnDoc>>,
    reader: &'a Reader,
}

impl Source<'_> {
    fn stream(&self, name: &str, document: StreamDoc) -> Result<Stream, Wrong> {
        let StreamDoc {
            title,
            path,
            method: MethodDoc::Post,
            encoding: EncodingDoc::Json,
            body,
            pager: PagerDoc::Page { first, size, max_size },
            max_days,
            table,
            account_column,
            dates,
            columns,
        } = document;
        check_short_name(name).map_err(|e| Wrong::at([], e))?;
        let table = table.unwrap_or_else(|| format!("{}_{name}", self.name));
        check_identifier(&table).map_err(|e| Wrong::at(["table"], e))?;
        if !path.starts_with('/') || path.contains(['?', '#']) {
            return Err(Wrong::at(["path"], "a path starts with / and has no ? or #"));
        }
        let url = format!("{}{path}", self.base_url.as_str().trim_end_matches('/'));
        let url = url.parse().map_err(|e| Wrong::at(["path"], format!("{url}: {e}")))?;
        let body =
            Template::new(&body).map_err(|e| Wrong { path: e.path, what: e.what }.within(&["body"]))?;
        if !body.names_the_page() {
            return Err(Wrong::at(["body"], "{page} is nowhere: every request would get the same page"));
        }
        let most = max_size.unwrap_or(LARGEST_PAGE).min(LARGEST_PAGE);
        if !(1..=most).contains(&size) {
            return Err(Wrong::at(["pager", "size"], format!("{size}: a page holds 1 to {most} rows")));
        }
        if max_days == Some(0) {
            return Err(Wrong::at(["max_days"], "a request spans at least one day"));
        }
        let (rows, shape) = columns::compile(columns, self.groups, self.reader)?;
        Ok(Stream {
            meaning: 0, // of the whole text: see `Definition::parse`
            title: title.unwrap_or_else(|| name.to_owned()),
            name: name.to_owned(),
            page_size: size,
            max_days,
            first_page: first,
            url,
            body,
            table: columns::table(table, shape, account_column, dates)?,
            rows,
        })
    }
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

fn auth(document: AuthDoc) -> Result<Auth, Wrong> {
    let AuthDoc::Token { header, prefix } = document;
    let name = HeaderName::from_bytes(header.as_bytes())
        .map_err(|_| Wrong::at(["auth", "header"], format!("\"{header}\" is no header's name")))?;
    HeaderValue::from_str(&prefix)
        .map_err(|_| Wrong::at(["auth", "prefix"], "not fit for a header: visible ASCII only"))?;
    Ok(Auth::Token { header: name, prefix })
}

fn check_rate(rate: Rate) -> Result<(), Wrong> {
    let Rate { per_second, per_minute, per_day } = rate;
    if per_second.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        return Err(Wrong::at(["rate", "per_second"], "a rate is above 0"));
    }
    for (key, rate) in [("per_minute", per_minute), ("per_day", per_day)] {
        if rate == Some(0) {
            return Err(Wrong::at(["rate", key], "a rate is above 0"));
        }
    }
    Ok(())
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
        null,
    })
}

fn answer(document: AnswerDoc) -> Result<Answer, Wrong> {
    let AnswerDoc { code, ok, message, request_id, total, rows } = document;
    let clash = |key: &str, path: &str| {
        Wrong::at(
            ["answer", key],
            format!("\"{path}\" is no path, or leads through another one, or is the rows'"),
        )
    };
    let mut plan = AnswerPlan::new(&rows).map_err(|Clash| clash("rows", &rows))?;
    for (key, field, OneOrMany(paths)) in [
        ("code", Field::Code, &code),
        ("message", Field::Message, &message),
        ("request_id", Field::RequestId, &request_id),
        ("total", Field::Total, &total),
    ] {
        for path in paths {
            plan.add(field, path).map_err(|Clash| clash(key, path))?;
        }
    }
    if total.0.is_empty() {
        return Err(Wrong::at(["answer", "total"], "where does an answer state the total?"));
    }
    if code.0.is_empty() != ok.0.is_empty() {
        return Err(Wrong::at(
            ["answer", "ok"],
            "code and ok go together: which codes mean that all is well?",
        ));
    }
    let ok = ok.0.into_iter().map(|Scalar(code)| code).collect();
    Ok(Answer { plan, code: code.0, ok, total: total.0, rows })
}

fn rules(documents: Vec<RuleDoc>) -> Result<Vec<Rule>, Wrong> {
    let rule = |(i, document): (usize, RuleDoc)| {
        let RuleDoc { class, status: OneOrMany(status), code: OneOrMany(code), message } = document;
        let number = i.to_string();
        if status.is_empty() && code.is_empty() && message.is_none() {
            return Err(Wrong::at(["errors", &number], "a rule names a status, a code or a message"));
        }
        let message = message.as_deref().map(Regex::new).transpose();
        Ok(Rule {
            class: class.into(),
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
