use pagemill_engine::{
    app,
    config::Config,
    error::UsageError,
    operations::requeue::{RefusedRequeue, drop_dead_letters, drop_in_ledger, requeue, requeue_in_ledger},
};
use pagemill_queue::Rabbit;
use pagemill_store::{DeadFilter, DeadRow, Store};

use crate::{
    database::{Database, DatabaseArgs},
    exit::Exit,
    output::{Out, print_json, print_table},
};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List the dead letters that wait
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        letters: LetterArgs,
    },
    /// Count the dead letters by error
    Groups {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one dead letter, with its message
    Show {
        /// The dead letter's id
        id: i64,
    },
    /// Give dead letters a fresh set of attempts
    Requeue {
        #[command(flatten)]
        letters: LetterArgs,
        /// All of them
        #[arg(long)]
        all: bool,
    },
    /// Drop dead letters; their pages stay missing
    Drop {
        #[command(flatten)]
        letters: LetterArgs,
        /// All of them
        #[arg(long)]
        all: bool,
    },
}

/// Flags that select dead letters; conditions hold together.
#[derive(clap::Args)]
pub(crate) struct LetterArgs {
    /// Ids, as `dead list` shows them
    ids: Vec<i64>,
    /// Only of this stream
    #[arg(long, value_name = "S")]
    stream: Option<String>,
    /// Only with this text in the error
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
}

impl LetterArgs {
    fn filter(self) -> DeadFilter {
        let ids = (!self.ids.is_empty()).then_some(self.ids);
        DeadFilter { ids, stream: self.stream, error: self.error }
    }

    /// The filter of a command that changes something: all must be named explicitly.
    fn filter_or_all(self, all: bool) -> anyhow::Result<DeadFilter> {
        let filter = self.filter();
        let empty = filter.ids.is_none() && filter.stream.is_none() && filter.error.is_none();
        match (empty, all) {
            (true, false) => {
                Err(UsageError("which? name ids, --stream S, --error TEXT, or --all".into()).into())
            }
            (false, true) => Err(UsageError("--all goes alone".into()).into()),
            _ => Ok(filter),
        }
    }
}

pub(crate) async fn run(database: &DatabaseArgs, command: Command, out: &mut Out) -> anyhow::Result<Exit> {
    let database = database.open().await?;
    let ran = act(&database, command, out).await;
    database.close().await;
    ran
}

async fn act(database: &Database, command: Command, out: &mut Out) -> anyhow::Result<Exit> {
    let store = &database.store;
    store.check_schema(&[]).await?;
    match command {
        Command::List { json, letters } => list(store, json, &letters.filter(), out).await,
        Command::Groups { json } => groups(store, json, out).await,
        Command::Show { id } => show(store, id, out).await,
        Command::Requeue { letters, all } => {
            requeue_letters(database, &letters.filter_or_all(all)?, out).await
        }
        Command::Drop { letters, all } => drop_letters(database, &letters.filter_or_all(all)?, out).await,
    }
}

async fn list(store: &Store, json: bool, filter: &DeadFilter, out: &mut Out) -> anyhow::Result<Exit> {
    let letters = store.dead_letters.list(filter).await?;
    if json {
        for letter in &letters {
            print_json(out, letter)?;
        }
        return Ok(Exit::Done);
    }
    if letters.is_empty() {
        writeln!(out, "no dead letters")?;
        return Ok(Exit::Done);
    }
    let headings = ["id", "stream", "account", "page", "attempts", "last failed", "fingerprint", "error"];
    let cells = |l: &DeadRow| {
        vec![
            Some(l.id.to_string()),
            l.stream.clone(),
            l.account.clone(),
            l.page.map(|p| p.to_string()),
            Some(l.attempts.to_string()),
            Some(l.last_failed_at.clone()),
            Some(l.fingerprint.clone()),
            Some(l.error.clone()),
        ]
    };
    print_table(out, &headings, &letters.iter().map(cells).collect::<Vec<_>>())?;
    Ok(Exit::Done)
}

async fn groups(store: &Store, json: bool, out: &mut Out) -> anyhow::Result<Exit> {
    let groups = store.dead_letters.groups().await?;
    if json {
        for group in &groups {
            print_json(out, group)?;
        }
        return Ok(Exit::Done);
    }
    let headings = ["count", "fingerprint", "source", "stream", "last failed", "error"];
    let rows: Vec<_> = groups
        .iter()
        .map(|g| {
            vec![
                Some(g.count.to_string()),
                Some(g.fingerprint.clone()),
                Some(g.source.clone()),
                g.stream.clone(),
                Some(g.last_failed_at.clone()),
                Some(g.error.clone()),
            ]
        })
        .collect();
    print_table(out, &headings, &rows)?;
    Ok(Exit::Done)
}

async fn show(store: &Store, id: i64, out: &mut Out) -> anyhow::Result<Exit> {
    let found = store.dead_letters.list(&DeadFilter { ids: Some(vec![id]), ..DeadFilter::default() }).await?;
    let letter = found
        .first()
        .ok_or_else(|| UsageError(format!("no dead letter {id} waits: see `pagemill dead list`")))?;
    let mut shown = serde_json::to_value(letter)?;
    // As it is, if it is JSON at all.
    shown["message"] = serde_json::from_slice(&letter.message)
        .unwrap_or_else(|_| String::from_utf8_lossy(&letter.message).into_owned().into());
    writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?;
    Ok(Exit::Done)
}

async fn requeue_letters(database: &Database, filter: &DeadFilter, out: &mut Out) -> anyhow::Result<Exit> {
    let (result, more) = if database.is_embedded() {
        let result = requeue_in_ledger(&database.store, filter).await?;
        (result, ": `pagemill run` of their days continues with them")
    } else {
        let (queue, sources) = connect(&database.config).await?;
        let result = requeue(&database.store, &queue, &sources, filter).await?;
        queue.close().await;
        (result, "")
    };
    for RefusedRequeue { id, reason } in &result.refused {
        eprintln!("{id}: {reason}");
    }
    match (result.requeued.len(), result.refused.len()) {
        (0, 0) => writeln!(out, "no such dead letter waits")?,
        (requeued, _) => writeln!(out, "{requeued} requeued{more}")?,
    }
    Ok(if result.refused.is_empty() { Exit::Done } else { Exit::Failed })
}

async fn drop_letters(database: &Database, filter: &DeadFilter, out: &mut Out) -> anyhow::Result<Exit> {
    let dropped = if database.is_embedded() {
        drop_in_ledger(&database.store, filter).await?
    } else {
        let (queue, sources) = connect(&database.config).await?;
        let dropped = drop_dead_letters(&database.store, &queue, &sources, filter).await?;
        queue.close().await;
        dropped
    };
    writeln!(out, "{dropped} dropped")?;
    Ok(Exit::Done)
}

/// The queue, and the sources whose dead letters it holds.
async fn connect(config: &Config) -> anyhow::Result<(Rabbit, Vec<String>)> {
    let resolved = app::resolve(config)?;
    let sources = resolved.iter().map(|source| source.name().to_owned()).collect();
    Ok((app::connect_queue(config, &resolved).await?, sources))
}
