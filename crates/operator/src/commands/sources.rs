use pagemill::exit::Exit;
use pagemill_source::Definition;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// The definitions that come with Pagemill
    List,
    /// A definition as it was read: its streams and their tables
    Show {
        /// A shipped name, or a path
        name: String,
    },
    /// Check a definition file
    Check {
        /// Its path
        file: String,
    },
}

pub(crate) fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::List => {
            for name in Definition::shipped_names() {
                let definition = load(name)?;
                let streams: Vec<&str> = definition.streams().map(|s| s.name()).collect();
                println!("{name}  {}  streams: {}", definition.title(), streams.join(", "));
            }
        }
        Command::Show { name } => show(&load(name)?),
        Command::Check { file } => {
            load(file)?;
            println!("{file}: sound");
        }
    }
    Ok(Exit::Done)
}

fn load(name: &str) -> anyhow::Result<Definition> {
    Definition::load(name, toml::Table::new())
        .map_err(|e| pagemill::config::ConfigError(e.to_string()).into())
}

fn show(definition: &Definition) {
    println!("{} ({}), dates in {}", definition.name(), definition.title(), definition.time_zone());
    for stream in definition.streams() {
        let shape = stream.table_shape();
        println!("\n{}: {} rows a page, into {}", stream.name(), stream.page_size(), shape.name);
        for column in &shape.columns {
            println!("  {:<24} {}{}", column.name, column.kind.sql(), if column.key { ", key" } else { "" });
        }
    }
}
