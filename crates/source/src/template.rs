//! The body of a request: JSON written once, with holes for what the job says.

use pagemill_core::Failure;
use toml::{Table, Value};

use crate::params::Params;

/// A JSON body, cut at its placeholders.
#[derive(Debug, Default)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Literal(String),
    /// Within a JSON string.
    Text(Hole),
    /// A JSON number.
    Whole(Hole),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hole {
    Account,
    From,
    To,
    Page,
    PageSize,
}

/// Where in the template something is wrong, and what.
#[derive(Debug)]
pub(crate) struct TemplateError {
    pub(crate) path: Vec<String>,
    pub(crate) what: String,
}

const PLACEHOLDERS: &str =
    "{account}, {account:int}, {from}, {to}, {page}, {page:int}, {page_size} or {page_size:int}";

impl Template {
    /// Compiles a body.
    pub(crate) fn new(body: &Table) -> Result<Self, TemplateError> {
        let mut template = Self::default();
        template.table(body)?;
        Ok(template)
    }

    /// The body for one request.
    pub(crate) fn render(&self, params: &Params<'_>) -> Result<Vec<u8>, Failure> {
        let mut out = Vec::with_capacity(256);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Text(hole) => out.extend_from_slice(hole.text(params).as_bytes()),
                Piece::Whole(Hole::Account) => {
                    out.extend_from_slice(params.account_number()?.to_string().as_bytes());
                }
                Piece::Whole(hole) => out.extend_from_slice(hole.text(params).as_bytes()),
            }
        }
        Ok(out)
    }

    /// Whether every page of a partition gets a request of its own.
    pub(crate) fn names_the_page(&self) -> bool {
        self.pieces.iter().any(|p| matches!(p, Piece::Text(Hole::Page) | Piece::Whole(Hole::Page)))
    }

    fn table(&mut self, table: &Table) -> Result<(), TemplateError> {
        self.literal("{");
        for (i, (key, value)) in table.iter().enumerate() {
            if i > 0 {
                self.literal(",");
            }
            self.literal(&json_string(key));
            self.literal(":");
            self.value(value).map_err(|e| e.within(key))?;
        }
        self.literal("}");
        Ok(())
    }

    fn value(&mut self, value: &Value) -> Result<(), TemplateError> {
        match value {
            Value::String(text) => self.text(text)?,
            Value::Integer(number) => self.literal(&number.to_string()),
            Value::Float(number) if number.is_finite() => self.literal(&number.to_string()),
            Value::Float(_) => return Err(TemplateError::new("JSON has no such number")),
            Value::Boolean(truth) => self.literal(if *truth { "true" } else { "false" }),
            Value::Datetime(_) => return Err(TemplateError::new("JSON has no dates: write it as text")),
            Value::Array(items) => {
                self.literal("[");
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        self.literal(",");
                    }
                    self.value(item).map_err(|e| e.within(&i.to_string()))?;
                }
                self.literal("]");
            }
            Value::Table(table) => self.table(table)?,
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), TemplateError> {
        if let Some(name) = text.strip_prefix('{').and_then(|t| t.strip_suffix(":int}")) {
            let hole = Hole::named(name).filter(|hole| !matches!(hole, Hole::From | Hole::To));
            let hole = hole.ok_or_else(|| TemplateError::placeholder(text))?;
            self.pieces.push(Piece::Whole(hole));
            return Ok(());
        }
        self.literal("\"");
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| TemplateError::placeholder(text))?;
            let hole = Hole::named(name).ok_or_else(|| TemplateError::placeholder(&format!("{{{name}}}")))?;
            self.literal(&json_inside(before));
            self.pieces.push(Piece::Text(hole));
            rest = after;
        }
        self.literal(&json_inside(rest));
        self.literal("\"");
        Ok(())
    }

    fn literal(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Literal(last)) => last.push_str(text),
            Some(Piece::Text(_) | Piece::Whole(_)) | None => {
                self.pieces.push(Piece::Literal(text.to_owned()))
            }
        }
    }
}

impl Hole {
    fn named(name: &str) -> Option<Self> {
        match name {
            "account" => Some(Self::Account),
            "from" => Some(Self::From),
            "to" => Some(Self::To),
            "page" => Some(Self::Page),
            "page_size" => Some(Self::PageSize),
            _ => None,
        }
    }

    fn text(self, params: &Params<'_>) -> String {
        match self {
            Self::Account => json_inside(params.account),
            Self::From => params.from.to_string(),
            Self::To => params.to.to_string(),
            Self::Page => params.page.to_string(),
            Self::PageSize => params.page_size.to_string(),
        }
    }
}

impl TemplateError {
    fn new(what: impl Into<String>) -> Self {
        Self { path: Vec::new(), what: what.into() }
    }

    fn placeholder(text: &str) -> Self {
        Self::new(format!(
            "\"{text}\" is no placeholder: write {PLACEHOLDERS} (with :int, alone in its text)"
        ))
    }

    fn within(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }
}

fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("text is always JSON")
}

fn json_inside(text: &str) -> String {
    let quoted = json_string(text);
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn template(text: &str) -> Result<Template, TemplateError> {
        Template::new(&text.parse().unwrap())
    }

    fn params(account: &str) -> Params<'_> {
        Params { account, from: date(2026, 11, 23), to: date(2026, 11, 24), page: 7, page_size: 100 }
    }

    #[test]
    fn placeholders_are_filled_as_text_or_number() {
        let template = template(
            "a = \"{account:int}\"\nb = \"{account}\"\nc = [\"{from}/{to}\", 1, true]\nd = { p = \"{page:int}\" }\ne = \"q\\\"\"",
        )
        .unwrap();
        assert!(template.names_the_page());
        assert_eq!(
            String::from_utf8(template.render(&params("1001")).unwrap()).unwrap(),
            r#"{"a":1001,"b":"1001","c":["2026-11-23/2026-11-24",1,true],"d":{"p":7},"e":"q\""}"#
        );
        let failure = template.render(&params("10\"01")).unwrap_err();
        assert_eq!(failure.message, r#"account "10\"01" is no whole number"#);
    }

    #[test]
    fn an_account_cannot_break_out_of_its_string() {
        let template = template("a = \"{account}\"").unwrap();
        let body = template.render(&params("1\",\"admin\":\"1")).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value, serde_json::json!({ "a": "1\",\"admin\":\"1" }));
    }

    #[test]
    fn a_wrong_placeholder_names_its_place() {
        let error = template("a = { b = [\"{acount}\"] }").unwrap_err();
        assert_eq!(error.path, ["a", "b", "0"]);
        assert!(error.what.starts_with("\"{acount}\" is no placeholder"), "{}", error.what);
        for bad in ["{from:int}", "{", "{page:int", "x{page:int}"] {
            assert!(template(&format!("a = \"{bad}\"")).is_err(), "{bad}");
        }
    }
}
