use std::io::BufWriter;

use pagemill_core::DateWord;
use pagemill_engine::{
    error::{UnavailableError, UsageError},
    stop::Stop,
};
use pagemill_simulator::{
    Fault, Latency, Limits, OAuth, Simulator, SimulatorConfig, truth_csv, truth_digest,
};

use crate::{exit::Exit, output::Out};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Port on 127.0.0.1
    #[arg(long, default_value_t = SimulatorConfig::PORT)]
    port: u16,
    /// Rows of each account and day
    #[arg(long, value_name = "N", default_value_t = SimulatorConfig::ROWS)]
    rows: u64,
    /// Seed of the rows: equal seeds give equal rows
    #[arg(long, value_name = "S", default_value_t = SimulatorConfig::SEED)]
    seed: u64,
    #[command(flatten)]
    limits: LimitArgs,
    /// Seconds to wait that a throttled response names in Retry-After [default: it names none]
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u32>,
    /// State in X-RateLimit-Remaining and X-RateLimit-Reset what the longest limit leaves
    #[arg(long)]
    rate_headers: bool,
    /// How long a response takes, as in 20..300ms
    #[arg(long, default_value = "0ms")]
    latency: Latency,
    /// The access token that requests need [default: any]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Grants tokens by OAuth 2 to this app, for the code `code`, over --account
    #[arg(long, value_name = "APP_ID:SECRET", value_parser = app)]
    oauth: Option<(String, String)>,
    /// What goes wrong, as in error_500=0.01 or fail_page=7 (repeatable)
    #[arg(long = "fault", value_name = "NAME=RATE")]
    faults: Vec<Fault>,
    /// Render each response once and serve the same bytes ever after (up to 2 GiB of them)
    #[arg(long)]
    rendered: bool,
    /// Serve nothing: print what a table should finally hold, for --account and --date
    #[arg(long)]
    truth: bool,
    /// Only its digest (count and sum of the rows' hashes)
    #[arg(long, requires = "truth")]
    digest: bool,
    /// Account of --truth and --oauth
    #[arg(long, default_value = "1001")]
    account: String,
    /// Day of --truth
    #[arg(long, value_name = "D", default_value = "yesterday")]
    date: DateWord,
}

/// The limits beyond which requests are throttled; each is a limit of its own, and unlimited unless given.
#[derive(clap::Args)]
struct LimitArgs {
    /// Requests permitted in any one second; more are throttled as the real API does
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<u32>,
    /// Requests permitted in any one minute
    #[arg(long, value_name = "N")]
    rate_per_minute: Option<u32>,
    /// Requests permitted a day, which begins at midnight in Shanghai
    #[arg(long, value_name = "N")]
    rate_per_day: Option<u32>,
    /// Requests permitted in any one second for each account
    #[arg(long, value_name = "PER_SECOND")]
    account_rate: Option<u32>,
    /// Requests permitted a day for each account
    #[arg(long, value_name = "N")]
    account_rate_per_day: Option<u32>,
    /// Requests permitted in any one second for each level's report, over all accounts
    #[arg(long, value_name = "PER_SECOND")]
    stream_rate: Option<u32>,
}

impl LimitArgs {
    fn limits(&self) -> Limits {
        Limits {
            rate: self.rate,
            rate_per_minute: self.rate_per_minute,
            rate_per_day: self.rate_per_day,
            account_rate: self.account_rate,
            account_rate_per_day: self.account_rate_per_day,
            stream_rate: self.stream_rate,
        }
    }
}

fn app(text: &str) -> Result<(String, String), String> {
    let (id, secret) = text.split_once(':').ok_or("write APP_ID:SECRET")?;
    Ok((id.to_owned(), secret.to_owned()))
}

/// Serves the API until a signal comes, or prints the truth about its data.
pub(crate) async fn run(args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    if args.rows > SimulatorConfig::MAX_ROWS {
        return Err(UsageError(format!("--rows {}: at most {}", args.rows, SimulatorConfig::MAX_ROWS)).into());
    }
    if args.truth { print_truth(args, out) } else { serve(args, out).await }
}

fn print_truth(args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    let config = args.config();
    let zone = jiff::tz::TimeZone::get("Asia/Shanghai")?;
    let date = args.date.resolve(jiff::Timestamp::now().to_zoned(zone).date());
    if args.digest {
        writeln!(out, "{}", truth_digest(&config, &args.account, date))?;
    } else {
        truth_csv(&config, &args.account, date, BufWriter::new(out))?;
    }
    Ok(Exit::Done)
}

async fn serve(args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    let port = args.port;
    let simulator = Simulator::start(args.config()).await.map_err(|e| {
        UnavailableError(format!("cannot serve on 127.0.0.1:{port}: {e}; choose another port with --port"))
    })?;
    writeln!(out, "simulating on {}; what it saw: {}/stats", simulator.url(), simulator.url())?;
    let stop = Stop::default();
    stop.on_signals(std::time::Duration::ZERO);
    stop.draining().await;
    simulator.stop().await;
    Ok(Exit::Done)
}

impl Args {
    fn config(&self) -> SimulatorConfig {
        SimulatorConfig {
            port: self.port,
            rows: self.rows,
            seed: self.seed,
            limits: self.limits.limits(),
            retry_after: self.retry_after,
            rate_headers: self.rate_headers,
            rendered: self.rendered,
            latency: self.latency,
            token: self.token.clone(),
            faults: self.faults.clone(),
            oauth: self.oauth.clone().map(|(app_id, secret)| OAuth {
                app_id,
                secret,
                accounts: vec![self.account.clone()],
                ..OAuth::default()
            }),
            ..SimulatorConfig::default()
        }
    }
}
