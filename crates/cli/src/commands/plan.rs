use jiff::SignedDuration;
use pagemill_core::{Lane, TimeOfDay};
use pagemill_engine::{
    app::{self, App},
    run::deadline::{describe_on_time, format_time},
    run::forecast::{Forecast, PartitionForecast, SourceForecast, forecast},
};

use crate::{
    args::{DayArgs, SelectArgs},
    database::{Database, DatabaseArgs},
    exit::Exit,
    output::{Cells, Out, print_json, print_table},
};

/// Prints what a producer with the same flags would do now: which partitions are due,
/// how many requests they take, how long that is at the quota, and whether it ends in time. Nothing
/// is sent, and nothing is written.
///
/// Requests are reckoned from the newest total that the ledger knows of each stream and account;
/// where it knows none, a partition counts one and the sum is "at least". Pages that other runs
/// still want of a source come on top, as they share its quota.
///
/// Exit codes: 0, or 3 when it would not end before --by or the config's deadline.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    days: DayArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// When it must be done, the next time that it is so late: 09:00, or "09:00 Asia/Shanghai"
    /// [default: the config's deadline; zone: the source's]
    #[arg(long, value_name = "HH:MM")]
    by: Option<TimeOfDay>,
    /// One line of JSON on stdout: requests, at_least, on_time; sources[] with due, open, sealed,
    /// requests, others, per_second, seconds, ends_at, deadline, on_time; partitions[] with state,
    /// lane, rows, requests, sealed_at, provisional
    #[arg(long)]
    json: bool,
}

/// Partitions are listed one by one up to so many, and otherwise summed up by stream.
const LISTED: usize = 40;

pub(crate) async fn run(database: &DatabaseArgs, args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    let mut database = database.open().await?;
    if database.is_embedded() {
        database = database.or_built_in();
    }
    let planned = plan(&database, args, out).await;
    database.close().await;
    planned
}

async fn plan(database: &Database, args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    let requested = args.select.clone().on(&args.days.or_yesterday())?;
    let resolved = app::resolve(&database.config)?;
    let app =
        App::with_store(database.store.clone(), database.config.consumer.clone(), &resolved, false).await?;
    let forecast = forecast(&app.store, &app.sources, &requested, args.by.as_ref()).await?;
    if args.json {
        print_json(out, &forecast)?;
    } else {
        print_forecast(&forecast, out)?;
    }
    Ok(if forecast.on_time == Some(false) { Exit::Incomplete } else { Exit::Done })
}

fn print_forecast(forecast: &Forecast, out: &mut Out) -> std::io::Result<()> {
    if forecast.partitions.len() <= LISTED {
        let headings = ["partition", "lane", "state", "rows", "requests"];
        print_table(out, &headings, &forecast.partitions.iter().map(cells).collect::<Vec<_>>())?;
    } else {
        let headings = ["stream", "days", "due", "open", "sealed", "requests"];
        print_table(out, &headings, &by_stream(&forecast.partitions))?;
    }
    writeln!(out)?;
    for source in &forecast.sources {
        writeln!(out, "{}", describe(source, forecast))?;
    }
    if let Some(run) = &forecast.continues {
        writeln!(out, "run {run} of the same request is unfinished: it would be continued")?;
    }
    if forecast.partitions.iter().any(|p| p.provisional && p.state == "due") {
        writeln!(out, "provisional: pulled before the source's ready_at, and due again after it")?;
    }
    Ok(())
}

fn cells(p: &PartitionForecast) -> Cells {
    let dates = if p.from == p.to { p.from.to_string() } else { format!("{}..{}", p.from, p.to) };
    let lane = if p.lane == Lane::Low { "low" } else { "pages" };
    let sealed_at = p.sealed_at.map(|at| at.strftime("%F %T UTC").to_string()).unwrap_or_default();
    let run = p.run.as_deref().unwrap_or_default();
    let state = match p.state {
        "due" if p.sealed_at.is_some() => format!("due again, sealed at {sealed_at}"),
        "due" if p.provisional => "due, provisional".to_owned(),
        "sealed" => format!("sealed at {sealed_at} by run {run}"),
        "open" => format!("open in run {run}"),
        "incomplete" => format!("incomplete in run {run}"),
        state => state.to_owned(),
    };
    let pulled = matches!(p.state, "due" | "open");
    let rows = p.rows.map_or(if pulled { "?".to_owned() } else { String::new() }, |rows| rows.to_string());
    let requests = if pulled && p.rows.is_none() { "at least 1".to_owned() } else { p.requests.to_string() };
    let partition = format!("{}.{} account {} {dates}", p.source, p.stream, p.account);
    [partition, lane.to_owned(), state, rows, requests].map(Some).to_vec()
}

fn by_stream(partitions: &[PartitionForecast]) -> Vec<Cells> {
    let mut streams: Vec<(&str, &str)> = Vec::new();
    for p in partitions {
        if !streams.contains(&(&p.source, &p.stream)) {
            streams.push((&p.source, &p.stream));
        }
    }
    let line = |(source, stream): (&str, &str)| {
        let own = || partitions.iter().filter(|p| p.source == source && p.stream == stream);
        let count = |state: &str| own().filter(|p| p.state == state).count().to_string();
        let first = own().map(|p| p.from).min().unwrap_or_default();
        let last = own().map(|p| p.to).max().unwrap_or_default();
        let requests: u64 = own().map(|p| p.requests).sum();
        let at_least = own().any(|p| matches!(p.state, "due" | "open") && p.rows.is_none());
        let cells = [
            format!("{source}.{stream}"),
            format!("{first}..{last}"),
            count("due"),
            count("open"),
            count("sealed"),
            format!("{}{requests}", if at_least { "at least " } else { "" }),
        ];
        cells.map(Some).to_vec()
    };
    streams.into_iter().map(line).collect()
}

/// `xiaohongshu: 301 requests at 3/s: 1m 40s, ends 08:12; on time: yes (deadline 09:00 Asia/Shanghai)`
fn describe(s: &SourceForecast, forecast: &Forecast) -> String {
    let at_least = if s.at_least { "at least " } else { "" };
    let plural = if s.requests == 1 { "" } else { "s" };
    let mut words = format!("{}: {at_least}{} request{plural}", s.source, s.requests);
    if s.requests == 0 {
        words += ": nothing is due";
    } else {
        if s.others > 0 {
            words += &format!(", and {} of other runs", s.others);
        }
        match (s.per_second, s.seconds, s.ends_at) {
            (Some(rate), Some(seconds), Some(end)) => {
                let length = SignedDuration::from_secs(seconds.ceil() as i64);
                words += format!(" at {rate:.3}").trim_end_matches('0').trim_end_matches('.');
                words += &format!("/s: {length:#}, ends {}", format_time(end, forecast.at, &s.zone));
            }
            _ => words += ", without a rate limit",
        }
    }
    if let Some(deadline) = s.deadline {
        let zone = s.zone.iana_name().unwrap_or("UTC");
        let deadline = format_time(deadline, forecast.at, &s.zone);
        words += &format!("; on time: {} (deadline {deadline} {zone})", describe_on_time(s.on_time));
    }
    words
}
