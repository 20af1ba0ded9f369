use pagemill_engine::{
    app,
    credentials::{Authorization, Authorized},
    error::UsageError,
    sources::ResolvedSource,
};
use pagemill_store::{Store, TokenKey, TokenStatus};
use serde_json::json;

use crate::{
    database::DatabaseArgs,
    exit::Exit,
    output::{Out, print_json, print_table},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The source
    source: String,
    /// The code that granting access ended with
    #[arg(long, value_name = "C", conflicts_with = "status")]
    code: Option<String>,
    /// The credential, where the source has several
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
    /// Where the API sends the code: a URL that is registered with the app
    #[arg(long, value_name = "URL")]
    redirect_uri: Option<String>,
    /// Text that comes back beside the code
    #[arg(long, value_name = "S", default_value = "pagemill")]
    state: String,
    /// Show how long the tokens live, and for which accounts
    #[arg(long)]
    status: bool,
    /// JSON on stdout
    #[arg(long)]
    json: bool,
}

/// Has access granted: prints the URL to open, or turns the code into tokens and stores them.
pub(crate) async fn run(database: &DatabaseArgs, args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    let resolved = app::resolve(&database.config()?)?;
    let names = || resolved.iter().map(ResolvedSource::name).collect::<Vec<_>>().join(", ");
    let source = resolved
        .iter()
        .find(|resolved| resolved.name() == args.source)
        .ok_or_else(|| UsageError(format!("unknown source '{}': the config has {}", args.source, names())))?;
    if let (None, false) = (&args.code, args.status) {
        return print_url(&source.authorization(args.credential.as_deref())?, args, out);
    }
    let database = database.open().await?;
    let done = match &args.code {
        Some(code) => exchange(&database.store, source, args, code, out).await,
        None => status(&database.store, args, out).await,
    };
    database.close().await;
    done
}

fn print_url(grant: &Authorization, args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    let url = grant.url(args.redirect_uri.as_deref(), &args.state)?;
    if args.json {
        print_json(out, &json!({ "url": url }))?;
        return Ok(Exit::Done);
    }
    let credential = args.credential.as_ref().map_or(String::new(), |name| format!(" --credential {name}"));
    writeln!(
        out,
        "open this, and grant access:\n\n  {url}\n\nthe browser then goes to the redirect URL, with a code in it. It lives for minutes:\n\n  \
         pagemill auth {}{credential} --code CODE",
        args.source
    )?;
    Ok(Exit::Done)
}

async fn exchange(
    store: &Store,
    source: &ResolvedSource,
    args: &Args,
    code: &str,
    out: &mut Out,
) -> anyhow::Result<Exit> {
    // What can be wrong here is found before the code, which is valid once, is used.
    let grant = source.authorization(args.credential.as_deref())?;
    let key = TokenKey::from_environment()?;
    store.check_schema(&[]).await?;
    let granted = grant.exchange_code(store, &key, code, args.redirect_uri.as_deref()).await?;
    if args.json {
        print_json(out, &granted)?;
        return Ok(Exit::Done);
    }
    let Authorized { access_expires_in, refresh_expires_in, refreshable, accounts, .. } = granted;
    let until = |span: Option<u64>| {
        span.map_or("for a time that the API does not state".into(), |s| {
            format!("for {}", describe_seconds(s))
        })
    };
    writeln!(out, "access to {} is granted {}", args.source, until(access_expires_in))?;
    match refreshable {
        true => {
            writeln!(out, "it is refreshed by itself; the refresh token lives {}", until(refresh_expires_in))?
        }
        false => writeln!(out, "the API gave no refresh token: run this again before then")?,
    }
    match &accounts[..] {
        [] => writeln!(out, "the API named no accounts: the config does")?,
        accounts => writeln!(out, "accounts: {}", accounts.join(", "))?,
    }
    Ok(Exit::Done)
}

/// Prints when the tokens expire; the tokens themselves are not read.
async fn status(store: &Store, args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    store.check_schema(&[]).await?;
    let named = |status: &TokenStatus| args.credential.as_ref().is_none_or(|name| *name == status.credential);
    let all: Vec<_> = store.tokens.status(&args.source).await?.into_iter().filter(named).collect();
    if args.json {
        for status in &all {
            print_json(out, status)?;
        }
        return Ok(Exit::Done);
    }
    if all.is_empty() {
        writeln!(out, "access was never granted: run `pagemill auth {}`", args.source)?;
        return Ok(Exit::Done);
    }
    let headings = ["credential", "access token", "refresh token", "refreshed at", "version", "accounts"];
    let rows: Vec<_> = all.iter().map(|status| cells(status).map(Some).to_vec()).collect();
    print_table(out, &headings, &rows)?;
    Ok(Exit::Done)
}

fn cells(status: &TokenStatus) -> [String; 6] {
    let left = |left: Option<i64>| match left {
        None => "no expiry known".to_owned(),
        Some(left) if left <= 0 => "expired".to_owned(),
        Some(left) => format!("{} left", describe_seconds(left.unsigned_abs())),
    };
    let refresh = if status.refreshable { left(status.refresh_expires_in) } else { "none".into() };
    [
        status.credential.clone(),
        left(status.access_expires_in),
        match &status.refreshing_by {
            Some(by) => format!("{refresh}, being used by {by}"),
            None => refresh,
        },
        status.refreshed_at.clone(),
        status.version.to_string(),
        status.accounts.join(", "),
    ]
}

/// The two largest units: `29 days 23 h`.
fn describe_seconds(seconds: u64) -> String {
    let units = [(86_400, "days"), (3_600, "h"), (60, "min"), (1, "s")];
    let largest = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let parts = units[largest..].iter().take(2).map(|(size, unit)| {
        let count = rest / size;
        rest %= size;
        (count, unit)
    });
    let parts: Vec<_> =
        parts.filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count} {unit}")).collect();
    if parts.is_empty() { "0 s".into() } else { parts.join(" ") }
}

#[test]
fn seconds_are_described() {
    for (seconds, words) in
        [(0, "0 s"), (59, "59 s"), (60, "1 min"), (86_399, "23 h 59 min"), (2_591_999, "29 days 23 h")]
    {
        assert_eq!(describe_seconds(seconds), words);
    }
}
