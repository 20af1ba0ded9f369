use pagemill_engine::error::UsageError;
use pagemill_store::{QuotaRow, Store};

use crate::{
    database::DatabaseArgs,
    exit::Exit,
    output::{Out, print_json, print_table},
};

/// Quotas have a key each: `source` for all requests of a source, `source@account`, `source.stream`
/// and `source.stream@account`. They come with the first request.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Show limits, use, and the rate after throttling
    Show {
        /// Only this one
        key: Option<String>,
        /// One JSON object a quota
        #[arg(long)]
        json: bool,
    },
    /// Go over the config's limits, for all replicas at once, until it is reset
    Set {
        /// The quota's key
        key: String,
        /// Requests a second; below 1 it is one in so many seconds
        #[arg(long, value_name = "RATE")]
        per_second: Option<f64>,
        /// Requests in any 60 seconds
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        per_minute: Option<u32>,
        /// Requests a day
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        per_day: Option<u32>,
    },
    /// Back to the config's limits, open at once; what was learnt from throttling and what is used up
    /// is forgotten
    Reset {
        /// The quota's key
        #[arg(required_unless_present = "all")]
        key: Option<String>,
        /// All of them
        #[arg(long, conflicts_with = "key")]
        all: bool,
    },
}

pub(crate) async fn run(database: &DatabaseArgs, command: &Command, out: &mut Out) -> anyhow::Result<Exit> {
    let database = database.open().await?;
    let done = act(&database.store, command, out).await;
    database.close().await;
    done
}

async fn act(store: &Store, command: &Command, out: &mut Out) -> anyhow::Result<Exit> {
    store.check_schema(&[]).await?;
    match command {
        Command::Show { key, json } => show(store, key.as_deref(), *json, out).await?,
        Command::Set { key, per_second, per_minute, per_day } => {
            if per_second.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
                return Err(UsageError("--per-second: a rate is above 0".into()).into());
            }
            if per_second.is_none() && per_minute.is_none() && per_day.is_none() {
                return Err(UsageError("set what? --per-second, --per-minute or --per-day".into()).into());
            }
            store.quotas.set(key, *per_second, *per_minute, *per_day).await?;
            show(store, Some(key), false, out).await?;
        }
        Command::Reset { key, .. } => {
            let count = store.quotas.reset(key.as_deref()).await?;
            writeln!(out, "{count} reset")?;
        }
    }
    Ok(Exit::Done)
}

async fn show(store: &Store, key: Option<&str>, json: bool, out: &mut Out) -> anyhow::Result<()> {
    let quotas = store.quotas.list(key).await?;
    if json {
        return quotas.iter().try_for_each(|quota| print_json(out, quota));
    }
    let rows: Vec<_> = quotas.iter().map(|quota| cells(quota).map(Some).to_vec()).collect();
    Ok(print_table(out, &HEADINGS, &rows)?)
}

const HEADINGS: [&str; 8] =
    ["quota", "permitted", "rate now", "last minute", "today", "opens in", "requests", "throttled"];

fn cells(q: &QuotaRow) -> [String; HEADINGS.len()] {
    let limits = [
        q.per_second.map(|n| format!("{n}/s")),
        q.per_minute.map(|n| format!("{n}/min")),
        q.per_day.map(|n| format!("{n}/day")),
        (q.burst > 1).then(|| format!("{} at once", q.burst)),
    ];
    let limits = limits.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let reduced = if q.rate_factor < 1.0 {
        format!(" ({:.0} %, throttled)", 100.0 * q.rate_factor)
    } else {
        String::new()
    };
    [
        q.key.clone(),
        if q.set { format!("{limits} (set)") } else { limits },
        q.rate.map_or("-".into(), |rate| format!("{rate:.2}/s{reduced}")),
        if q.per_minute.is_some() { q.minute_used.to_string() } else { "-".into() },
        if q.per_day.is_some() { q.day_used.to_string() } else { "-".into() },
        if q.opens_in > 0.0 { format!("{:.1} s", q.opens_in) } else { "now".into() },
        q.requests.to_string(),
        q.throttled.to_string(),
    ]
}
