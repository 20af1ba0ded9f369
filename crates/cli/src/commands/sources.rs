use pagemill_engine::config::ConfigError;
use pagemill_source::{Definition, Stream};

use self::check::{CheckArgs, check};
use crate::{exit::Exit, output::Out};

mod check;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// The definitions that come with Pagemill
    List,
    /// A definition as it was read: its streams and their tables
    Show {
        /// A shipped name, or a path
        name: String,
    },
    /// Check a definition file; with --live, request one page and show what it decodes
    Check(CheckArgs),
    /// The JSON Schema of definitions, for editors
    Schema,
}

pub(crate) async fn run(command: &Command, out: &mut Out) -> anyhow::Result<Exit> {
    match command {
        Command::List => list(out)?,
        Command::Show { name } => show(&load(name, toml::Table::new())?, out)?,
        Command::Check(args) => check(args, out).await?,
        Command::Schema => writeln!(out, "{:#}", Definition::schema())?,
    }
    Ok(Exit::Done)
}

fn load(name: &str, overrides: toml::Table) -> Result<Definition, ConfigError> {
    Definition::load(name, overrides).map_err(|e| ConfigError(e.to_string()))
}

fn list(out: &mut Out) -> anyhow::Result<()> {
    for name in Definition::shipped_names() {
        let definition = load(name, toml::Table::new())?;
        let streams: Vec<&str> = definition.streams().map(Stream::name).collect();
        writeln!(out, "{name}  {}  streams: {}", definition.title(), streams.join(", "))?;
    }
    Ok(())
}

fn show(definition: &Definition, out: &mut Out) -> std::io::Result<()> {
    writeln!(out, "{} ({}), dates in {}", definition.name(), definition.title(), definition.time_zone())?;
    for stream in definition.streams() {
        let shape = stream.table_shape();
        writeln!(out, "\n{}: {} rows a page, into {}", stream.name(), stream.page_size(), shape.name)?;
        for column in &shape.columns {
            let key = if column.key { ", key" } else { "" };
            writeln!(out, "  {:<24} {}{key}", column.name, column.kind.sql())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(command: &Command) -> String {
        let mut out = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(run(command, &mut out)).unwrap(), Exit::Done);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_shipped_definition_is_listed_and_shown() {
        let list = printed(&Command::List);
        for name in Definition::shipped_names() {
            assert!(list.contains(name), "{list}");
            let shown = printed(&Command::Show { name: (*name).to_owned() });
            assert!(shown.contains(" rows a page, into ") && shown.contains(", key"), "{shown}");
        }
    }
}
