//! Standard output as commands write to it: lines, JSON lines and tables.

use std::{
    fmt,
    io::{self, ErrorKind, Stdout, Write},
};

use comfy_table::{ContentLineStyle, LineStyle, Table, TableStyle};
use serde::Serialize;

/// Columns with a gap between, a ruled heading, no borders.
const STYLE: TableStyle = TableStyle::new()
    .header_lines(ContentLineStyle::none().junction(' '))
    .header_separator(LineStyle::none().fill('-').junction(' '))
    .content_lines(ContentLineStyle::none().junction(' '));

/// Where a command prints to.
pub(crate) type Out = dyn Write + Send;

/// A row of a table; `None` is NULL, and shown as nothing.
pub(crate) type Cells = Vec<Option<String>>;

/// This process's standard output. A reader that went away (`| head`) is distinguished from other
/// failures.
pub(crate) struct Output(Stdout);

/// Nobody reads standard output any more.
#[derive(Debug)]
struct ReaderGone;

impl Output {
    pub(crate) fn new() -> Self {
        Self(io::stdout())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(mark)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(mark)
    }
}

fn mark(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::BrokenPipe {
        io::Error::new(ErrorKind::BrokenPipe, ReaderGone)
    } else {
        error
    }
}

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output any more")
    }
}

impl std::error::Error for ReaderGone {}

/// True if a command failed only because its reader went away.
pub(crate) fn is_reader_gone(error: &anyhow::Error) -> bool {
    let inner = |cause: &io::Error| cause.get_ref().is_some_and(|inner| inner.is::<ReaderGone>());
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(inner))
}

/// Prints a value as one line of JSON.
pub(crate) fn print_json(out: &mut Out, value: &impl Serialize) -> anyhow::Result<()> {
    Ok(writeln!(out, "{}", serde_json::to_string(value)?)?)
}

/// Prints aligned columns. Nothing is cut: a wide value makes a wide column. Control characters are
/// escaped, so that a row is a line and a terminal is left alone.
pub(crate) fn print_table<H: AsRef<str>>(out: &mut Out, headings: &[H], rows: &[Cells]) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(headings.iter().map(|heading| escape(heading.as_ref())));
    for row in rows {
        table.add_row(row.iter().map(|cell| escape(cell.as_deref().unwrap_or_default())));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    writeln!(out, "{}", table.trim_fmt())
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(headings: &[&str], rows: &[&[Option<&str>]]) -> String {
        let cells = |row: &&[Option<&str>]| row.iter().map(|cell| cell.map(str::to_owned)).collect();
        let mut out = Vec::new();
        print_table(&mut out, headings, &rows.iter().map(cells).collect::<Vec<Cells>>()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_by_the_width_that_a_terminal_gives_them() {
        let rows: [&[Option<&str>]; 3] =
            [&[Some("小红书"), Some("1")], &[None, Some("22")], &[Some("a b"), None]];
        let expected = ["name    n", "------- ---", "小红书  1", "        22", "a b", ""].join("\n");
        assert_eq!(printed(&["name", "n"], &rows), expected);
    }

    #[test]
    fn a_wide_value_is_whole_and_control_characters_are_escaped() {
        let wide = "x".repeat(5_000);
        assert!(printed(&["a"], &[&[Some(&wide)]]).contains(&wide));
        let text = printed(&["a"], &[&[Some("one\ntwo\u{1b}[2J\t")]]);
        assert!(text.contains(r"one\ntwo\u{1b}[2J\t"), "{text}");
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn a_table_without_rows_is_its_heading() {
        assert_eq!(printed(&["a", "b"], &[]), "a  b\n-- --\n");
    }

    #[test]
    fn a_reader_that_went_away_is_distinguished_from_other_broken_pipes() {
        let broken = || io::Error::from(ErrorKind::BrokenPipe);
        assert!(is_reader_gone(&anyhow::Error::from(mark(broken())).context("printing")));
        assert!(!is_reader_gone(&anyhow::Error::from(broken())));
        assert!(!is_reader_gone(&anyhow::anyhow!("something else")));
    }
}
