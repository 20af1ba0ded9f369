//! Tables and plots from the figures that are kept in JSON.

mod quota;
mod speed;

use std::{fs, io, path::Path};

use anyhow::Context;
use serde::{Serialize, de::DeserializeOwned};

use crate::{machine::Machine, plot, quota::Quota, speed::Speed};

/// Keeps figures in a file of `out`.
pub(crate) fn keep(out: &Path, name: &str, figures: &impl Serialize) -> anyhow::Result<()> {
    fs::create_dir_all(out)?;
    let path = out.join(name);
    fs::write(&path, serde_json::to_string_pretty(figures)? + "\n").context(path.display().to_string())
}

/// Writes `README.md` and the plots from what is kept; returns the summary for the main README.
pub(crate) fn write(out: &Path) -> anyhow::Result<String> {
    let speed: Option<Speed> = kept(out, "speed.json")?;
    let quota: Option<Quota> = kept(out, "quota.json")?;
    let mut page =
        "# What `make bench` measured\n\nWritten by the bench from the figures in `speed.json` and \
                    `quota.json`; not to be edited.\n"
            .to_owned();
    let mut summary = String::new();
    if let Some(speed) = &speed {
        page += &format!("\n## Speed\n\n{}\n{}", machine(&speed.machine), speed::page(speed));
        summary += &speed::summary(speed);
        let bars = speed::bars(speed);
        if !bars.is_empty() {
            let caption = format!("rows/s: {} pages of 100 rows, {} workers", speed.pages, speed.workers);
            plot::bars(&out.join("speed.svg"), &caption, bars)?;
            page += "\n![rows a second](speed.svg)\n";
        }
    }
    if let Some(quota) = &quota {
        page += &format!("\n## Quota\n\n{}\n{}", machine(&quota.machine), quota::page(quota));
        summary += &quota::summary(quota);
        if let Some(recovery) = &quota.recovery {
            plot::recovery(&out.join("recovery.svg"), recovery)?;
            page += "\n![admitted and throttled while the API halves its rate](recovery.svg)\n";
        }
    }
    fs::write(out.join("README.md"), page)?;
    Ok(summary)
}

fn kept<T: DeserializeOwned>(out: &Path, name: &str) -> anyhow::Result<Option<T>> {
    let path = out.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map(Some).context(path.display().to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(path.display().to_string()),
    }
}

fn machine(machine: &Machine) -> String {
    let Machine { date, commit, cpu, cores, ram_bytes, kernel, postgres, rabbit, peers } = machine;
    let gib = *ram_bytes as f64 / f64::from(1 << 30);
    let mut text = format!(
        "{date}, commit {commit}. {cores} cores of {cpu}, {gib:.0} GiB, Linux {kernel}; everything on this one \
         machine. PostgreSQL {postgres}, RabbitMQ {rabbit}."
    );
    if !peers.is_empty() {
        text += &format!(" Peers: {}.", peers.join(", "));
    }
    text + "\n"
}

/// A Markdown table.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&head.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>());
    text += &format!("|---|{}\n", "---:|".repeat(head.len() - 1));
    text.extend(rows.iter().map(|row| line(row)));
    text
}

/// A figure, or a dash where there is none.
fn or_dash(figure: Option<f64>, write: impl Fn(f64) -> String) -> String {
    figure.map_or_else(|| "–".to_owned(), write)
}

fn percent(share: f64, digits: usize) -> String {
    format!("{:.digits$} %", 100.0 * share)
}

/// Bytes in MB.
fn megabytes(bytes: f64) -> String {
    format!("{:.1}", bytes / 1e6)
}

/// A target, what was measured, and whether that is enough.
struct Goal {
    what: String,
    wanted: String,
    measured: Option<f64>,
    shown: String,
    met: bool,
}

impl Goal {
    fn at_least(what: &str, least: f64, measured: Option<f64>, unit: &str) -> Self {
        let met = measured.is_some_and(|m| m >= least);
        Self::new(what, format!("≥ {least}{unit}"), measured, unit, met)
    }

    fn at_most(what: &str, most: f64, measured: Option<f64>, unit: &str) -> Self {
        let met = measured.is_some_and(|m| m <= most);
        Self::new(what, format!("≤ {most}{unit}"), measured, unit, met)
    }

    fn new(what: &str, wanted: String, measured: Option<f64>, unit: &str, met: bool) -> Self {
        let shown = or_dash(measured, |m| {
            if m.is_finite() { format!("{m:.2}{unit}") } else { "not while it was watched".to_owned() }
        });
        Self { what: what.to_owned(), wanted, measured, shown, met }
    }
}

fn goals(goals: Vec<Goal>) -> String {
    let rows: Vec<_> = goals
        .into_iter()
        .map(|goal| {
            let met = match goal.measured {
                None => "not measured",
                Some(_) if goal.met => "yes",
                Some(_) => "**no**",
            };
            vec![goal.what, goal.wanted, goal.shown, met.to_owned()]
        })
        .collect();
    table(&["target", "wanted", "measured", "met"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let rows =
            [vec!["a".to_owned(), "1".to_owned()], vec!["b".to_owned(), or_dash(None, |f| f.to_string())]];
        assert_eq!(table(&["who", "rows/s"], &rows), "| who | rows/s |\n|---|---:|\n| a | 1 |\n| b | – |\n");
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let rows = vec![
            Goal::at_least("fast", 4.0, Some(4.25), " ×"),
            Goal::at_most("small", 30.0, Some(31.0), " MB"),
            Goal::at_most("quick", 0.3, None, " s"),
        ];
        let text = goals(rows);
        assert!(text.contains("| fast | ≥ 4 × | 4.25 × | yes |"), "{text}");
        assert!(text.contains("| small | ≤ 30 MB | 31.00 MB | **no** |"), "{text}");
        assert!(text.contains("| quick | ≤ 0.3 s | – | not measured |"), "{text}");
    }

    #[test]
    fn without_figures_there_is_an_empty_page() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(write(dir.path()).unwrap(), "");
        assert!(fs::read_to_string(dir.path().join("README.md")).unwrap().starts_with("# What"));
    }
}
