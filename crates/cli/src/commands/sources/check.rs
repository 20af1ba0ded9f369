use std::{sync::Arc, time::Duration};

use anyhow::Context;
use jiff::Timestamp;
use pagemill_core::{Column, DateWord, FetchedPage, OutsideRows};
use pagemill_engine::{
    config::ConfigError,
    credentials::SOLE_ACCOUNT,
    error::UsageError,
    operations::sample::{fetch_sample, sample_job},
};
use pagemill_source::{Client, Credential, Definition, Stream};

use crate::output::Out;

#[derive(clap::Args)]
pub(crate) struct CheckArgs {
    /// A path, or a shipped name
    file: String,
    /// Request the first page of a stream
    #[arg(long)]
    live: bool,
    /// The stream to request; the first if left out
    #[arg(long, value_name = "S")]
    stream: Option<String>,
    /// The account; left out where the API knows no accounts
    #[arg(long, value_name = "A")]
    account: Option<String>,
    /// The day to request: YYYY-MM-DD, today or yesterday, in the source's time zone
    #[arg(long, value_name = "D", default_value = "yesterday")]
    date: DateWord,
    /// The environment variable that holds the access token
    #[arg(long, value_name = "VAR")]
    token_env: Option<String>,
    /// The environment variable that holds the secret behind signatures
    #[arg(long, value_name = "VAR")]
    secret_env: Option<String>,
    /// Request it there instead of at the definition's base_url
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
}

/// Checks a definition, and with --live one page of it.
pub(super) async fn check(args: &CheckArgs, out: &mut Out) -> anyhow::Result<()> {
    let base_url = args.base_url.iter().map(|url| ("base_url".to_owned(), url.clone().into()));
    let definition = Arc::new(super::load(&args.file, base_url.collect())?);
    writeln!(out, "{}: ok", args.file)?;
    if args.live { check_live(&definition, args, out).await } else { Ok(()) }
}

async fn check_live(definition: &Arc<Definition>, args: &CheckArgs, out: &mut Out) -> anyhow::Result<()> {
    let stream = match &args.stream {
        Some(name) => definition.stream(name).map_err(|e| ConfigError(e.to_string()))?,
        None => definition.streams().next().context("the definition has no stream")?,
    };
    let account = match &args.account {
        Some(account) => account,
        None if !stream.names_account() => SOLE_ACCOUNT,
        None => {
            return Err(
                UsageError(format!("{} is requested by account: add --account A", stream.name())).into()
            );
        }
    };
    let today = Timestamp::now().to_zoned(definition.zone().clone()).date();
    let job = sample_job(definition, stream, account, args.date.resolve(today));
    writeln!(out, "\n{}\n", definition.describe_request(&job)?)?;
    let client = Client::new(definition.clone())?;
    let mut wait =
        |task: &str, wait: Duration| eprintln!("task {task}: not ready, looking again in {wait:?}");
    let slice = job.slice.clone();
    let mut page = fetch_sample(&client, job, credential(args)?.as_ref(), &mut wait).await?;
    print_page(stream, &page, out)?;
    if let Some(OutsideRows { rows, example }) = page.rows.take_outside(stream.table_shape(), &slice) {
        let rows = rows.len();
        writeln!(out, "\nrows of other days or accounts, which are never stored: {rows}, such as {example}")?;
    }
    Ok(())
}

fn credential(args: &CheckArgs) -> anyhow::Result<Option<Credential>> {
    let read = |name: &String| std::env::var(name).with_context(|| format!("environment variable {name}"));
    let mut credential = args.token_env.as_ref().map(read).transpose()?.map(Credential::from);
    if let (Some(credential), Some(name)) = (&mut credential, &args.secret_env) {
        credential.secret = Some(read(name)?.into());
    }
    Ok(credential)
}

/// Prints what was decoded.
fn print_page(stream: &Stream, page: &FetchedPage, out: &mut Out) -> anyhow::Result<()> {
    let FetchedPage { rows, total, next, sums, request_id, cast_failures, unmapped, absent, .. } = page;
    let of = total.map_or_else(|| "no total stated".into(), |total| format!("of {total}"));
    let more = if next.is_some() { ", and there is a next page" } else { "" };
    writeln!(out, "{} rows, {of}{more}", rows.len())?;
    if let Some(id) = request_id {
        writeln!(out, "request {id}")?;
    }
    let columns = &stream.table_shape().columns;
    for (&at, sum) in stream.sums().iter().zip(sums) {
        let sum = sum.map_or_else(|| "not stated".into(), |sum| sum.to_string());
        writeln!(out, "sum of {}: {sum}", columns[at].name)?;
    }
    if !rows.is_empty() {
        writeln!(out, "\nthe first row:")?;
        for (shape, column) in columns.iter().zip(rows.columns()) {
            writeln!(out, "  {:<24} {:<12} {}", shape.name, shape.kind.sql(), first_value(column))?;
        }
    }
    let is_null = |column: &Column| (0..rows.len()).all(|row| column.is_null(row));
    let empty = columns
        .iter()
        .zip(rows.columns())
        .filter(|(shape, column)| !rows.is_empty() && !absent.contains(&shape.name) && is_null(column));
    let empty: Vec<String> = empty.map(|(shape, _)| shape.name.clone()).collect();
    for (what, names) in [
        ("fields that no column takes", unmapped),
        ("columns whose field never came", absent),
        ("columns that are always NULL", &empty),
    ] {
        if !names.is_empty() {
            writeln!(out, "\n{what}: {}", names.join(", "))?;
        }
    }
    for cast in cast_failures {
        let (column, count, sample) = (&cast.column, cast.count, &cast.sample);
        writeln!(out, "\n{column}: {count} values could not be read, such as \"{sample}\"")?;
    }
    Ok(())
}

fn first_value(column: &Column) -> String {
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
