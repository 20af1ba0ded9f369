use std::{sync::Arc, time::Duration};

use crate::exit::Exit;
use anyhow::Context;
use jiff::{Timestamp, civil::Date};
use pagemill_core::{Column, DateWord, FetchedPage, Lane, PageJob, Slice};
use pagemill_engine::{credentials::WHOLE, error::Usage};
use pagemill_source::{Client, Credential, Definition, Fetch, Stream};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// The definitions that come with Pagemill
    List,
    /// A definition as it was read: its streams and their tables
    Show {
        /// A shipped name, or a path
        name: String,
    },
    /// Check a definition file; with --live, ask for one page and show what it decodes
    Check(CheckArgs),
    /// The JSON Schema of definitions, for editors
    Schema,
}

#[derive(clap::Args)]
pub(crate) struct CheckArgs {
    /// A path, or a shipped name
    file: String,
    /// Ask for the first page of a stream
    #[arg(long)]
    live: bool,
    /// The stream to ask for; the first if left out
    #[arg(long, value_name = "S")]
    stream: Option<String>,
    /// Whose data; left out where the API knows no accounts
    #[arg(long, value_name = "A")]
    account: Option<String>,
    /// The day to ask for: YYYY-MM-DD, today or yesterday, in the source's time zone
    #[arg(long, value_name = "D", default_value = "yesterday")]
    date: DateWord,
    /// The environment variable that holds the access token
    #[arg(long, value_name = "VAR")]
    token_env: Option<String>,
    /// The environment variable that holds the secret behind signatures
    #[arg(long, value_name = "VAR")]
    secret_env: Option<String>,
    /// Ask there instead of at the definition's base_url
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
}

/// A task is waited for so long.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) async fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::List => {
            for name in Definition::shipped_names() {
                let definition = load(name, toml::Table::new())?;
                let streams: Vec<&str> = definition.streams().map(Stream::name).collect();
                println!("{name}  {}  streams: {}", definition.title(), streams.join(", "));
            }
        }
        Command::Show { name } => show(&load(name, toml::Table::new())?),
        Command::Check(args) => return check(args).await,
        Command::Schema => println!("{:#}", Definition::schema()),
    }
    Ok(Exit::Done)
}

fn load(name: &str, overrides: toml::Table) -> anyhow::Result<Definition> {
    Definition::load(name, overrides).map_err(|e| pagemill_engine::config::ConfigError(e.to_string()).into())
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

async fn check(args: &CheckArgs) -> anyhow::Result<Exit> {
    let base_url = args.base_url.iter().map(|url| ("base_url".to_owned(), url.clone().into()));
    let definition = Arc::new(load(&args.file, base_url.collect())?);
    println!("{}: sound", args.file);
    if !args.live {
        return Ok(Exit::Done);
    }
    let stream = match &args.stream {
        Some(name) => {
            definition.stream(name).map_err(|e| pagemill_engine::config::ConfigError(e.to_string()))?
        }
        None => definition.streams().next().context("the definition has no stream")?,
    };
    let account = match &args.account {
        Some(account) => account,
        None if !stream.names_account() => WHOLE,
        None => return Err(Usage(format!("{} is asked by account: add --account A", stream.name())).into()),
    };
    let today = Timestamp::now().to_zoned(definition.zone().clone()).date();
    let mut job = first_page(&definition, stream, account, args.date.resolve(today));
    println!("\n{}\n", definition.describe_request(&job)?);
    let page = fetch(&Client::new(definition.clone())?, &mut job, credential(args)?.as_ref()).await?;
    tell(stream, &page);
    Ok(Exit::Done)
}

fn credential(args: &CheckArgs) -> anyhow::Result<Option<Credential>> {
    let read = |name: &String| std::env::var(name).with_context(|| format!("environment variable {name}"));
    let mut credential = args.token_env.as_ref().map(read).transpose()?.map(Credential::from);
    if let (Some(credential), Some(name)) = (&mut credential, &args.secret_env) {
        credential.secret = Some(read(name)?.into());
    }
    Ok(credential)
}

fn first_page(definition: &Definition, stream: &Stream, account: &str, day: Date) -> PageJob {
    PageJob {
        v: PageJob::VERSION,
        partition: 0,
        run: 0,
        slice: Slice {
            source: definition.name().to_owned(),
            stream: stream.name().to_owned(),
            account: account.to_owned(),
            from: day,
            to: day,
            part: Default::default(),
        },
        page: 1,
        page_size: stream.page_size(),
        generation: 0,
        attempt: 0,
        lane: Lane::default(),
        cursor: None,
        stands_on: None,
    }
}

/// Asks until the page is there: a report that the API prepares first takes its time.
async fn fetch(
    client: &Client,
    job: &mut PageJob,
    credential: Option<&Credential>,
) -> anyhow::Result<FetchedPage> {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        match client.fetch(job, credential).await? {
            Fetch::Page(page) => return Ok(*page),
            Fetch::Unchanged { .. } => unreachable!("no page is known"),
            Fetch::RestartTask(failure) => return Err(failure.into()),
            Fetch::Preparing { cursor, wait } => {
                anyhow::ensure!(std::time::Instant::now() + wait < until, "task {cursor} takes too long");
                println!("task {cursor}: not ready, looking again in {wait:?}");
                job.cursor = Some(cursor);
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// What was decoded.
fn tell(stream: &Stream, page: &FetchedPage) {
    let FetchedPage { rows, total, next, sums, request_id, cast_failures, unmapped, absent, .. } = page;
    let of = total.map_or_else(|| "no total stated".into(), |total| format!("of {total}"));
    println!("{} rows, {of}{}", rows.len(), if next.is_some() { ", and there is a next page" } else { "" });
    if let Some(id) = request_id {
        println!("request {id}");
    }
    let columns = &stream.table_shape().columns;
    for (&at, sum) in stream.sums().iter().zip(sums) {
        let sum = sum.map_or_else(|| "not stated".into(), |sum| sum.to_string());
        println!("sum of {}: {sum}", columns[at].name);
    }
    if !rows.is_empty() {
        println!("\nthe first row:");
        for (shape, column) in columns.iter().zip(rows.columns()) {
            println!("  {:<24} {:<12} {}", shape.name, shape.kind.sql(), first(column));
        }
    }
    let list = |what: &str, names: &[String]| {
        if !names.is_empty() {
            println!("\n{what}: {}", names.join(", "));
        }
    };
    list("fields that no column takes", unmapped);
    list("columns whose field never came", absent);
    let empty = columns.iter().zip(rows.columns()).filter(|(shape, column)| {
        !rows.is_empty() && !absent.contains(&shape.name) && (0..rows.len()).all(|row| column.is_null(row))
    });
    list("columns that are always NULL", &empty.map(|(shape, _)| shape.name.clone()).collect::<Vec<_>>());
    for cast in cast_failures {
        println!("\n{}: {} values could not be read, such as \"{}\"", cast.column, cast.count, cast.sample);
    }
}

fn first(column: &Column) -> String {
    fn text<T: ToString>(values: &[Option<T>]) -> Option<String> {
        values.first()?.as_ref().map(T::to_string)
    }
    let text = match column {
        Column::Bigint(values) => text(values),
        Column::Numeric(values) => text(values),
        Column::Text(values) => values.get(0).map(|text| format!("\"{text}\"")),
        Column::Boolean(values) => text(values),
        Column::Date(values) => text(values),
        Column::Timestamptz(values) => text(values),
    };
    text.unwrap_or_else(|| "NULL".into())
}
