use std::io::{Write, stdout};

use crate::exit::Exit;
use pagemill_core::PageJob;
use pagemill_engine::{app, config::Config, error::Usage, pipeline::message};
use pagemill_queue::{Address, PageQueue, Rabbit};
use pagemill_store::{DeadFilter, DeadRow, Requeued, Store};

use super::query::write_table;
use crate::database::{Database, DatabaseArgs};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// The dead letters that wait for you
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
    /// How many of which kind of error
    Groups {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// One dead letter, with its message
    Show {
        /// Its id
        id: i64,
    },
    /// Give dead letters a fresh set of attempts
    Requeue {
        #[command(flatten)]
        which: Which,
        /// All of them
        #[arg(long)]
        all: bool,
    },
    /// Give dead letters up for good; their pages stay missing
    Drop {
        #[command(flatten)]
        which: Which,
        /// All of them
        #[arg(long)]
        all: bool,
    },
}

/// Which dead letters; conditions hold together.
#[derive(clap::Args)]
pub(crate) struct Which {
    /// Ids, as `dead list` shows them
    ids: Vec<i64>,
    /// Of this stream
    #[arg(long, value_name = "S")]
    stream: Option<String>,
    /// Whose error contains this text
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
}

impl Which {
    fn filter(self) -> DeadFilter {
        let ids = (!self.ids.is_empty()).then_some(self.ids);
        DeadFilter { ids, stream: self.stream, error: self.error }
    }

    /// The filter of a command that changes something: all must be said.
    fn chosen(self, all: bool) -> anyhow::Result<DeadFilter> {
        let filter = self.filter();
        let empty = filter.ids.is_none() && filter.stream.is_none() && filter.error.is_none();
        match (empty, all) {
            (true, false) => Err(Usage("which? name ids, --stream S, --error TEXT, or --all".into()).into()),
            (false, true) => Err(Usage("--all goes alone".into()).into()),
            _ => Ok(filter),
        }
    }
}

pub(crate) async fn run(database: &DatabaseArgs, command: Command) -> anyhow::Result<Exit> {
    let database = database.open().await?;
    database.store.check_schema(&[]).await?;
    let store = &database.store;
    let ran = match command {
        Command::List { json, which } => list(store, json, &which.filter()).await,
        Command::Groups { json } => groups(store, json).await,
        Command::Show { id } => show(store, id).await,
        Command::Requeue { which, all } => match which.chosen(all) {
            Ok(filter) => requeue(&database, &filter).await,
            Err(error) => Err(error),
        },
        Command::Drop { which, all } => match which.chosen(all) {
            Ok(filter) => drop_letters(&database, &filter).await,
            Err(error) => Err(error),
        },
    };
    database.close().await;
    ran
}

async fn list(store: &Store, json: bool, filter: &DeadFilter) -> anyhow::Result<Exit> {
    let letters = store.dead_letters.list(filter).await?;
    let mut out = stdout().lock();
    if json {
        for letter in &letters {
            writeln!(out, "{}", serde_json::to_string(letter)?)?;
        }
        return Ok(Exit::Done);
    }
    if letters.is_empty() {
        writeln!(out, "no dead letters")?;
        return Ok(Exit::Done);
    }
    let columns = ["id", "stream", "account", "page", "attempts", "last failed", "fingerprint", "error"]
        .map(String::from);
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
    write_table(&mut out, &columns, &letters.iter().map(cells).collect::<Vec<_>>())?;
    Ok(Exit::Done)
}

async fn groups(store: &Store, json: bool) -> anyhow::Result<Exit> {
    let groups = store.dead_letters.groups().await?;
    let mut out = stdout().lock();
    if json {
        for group in &groups {
            writeln!(out, "{}", serde_json::to_string(group)?)?;
        }
        return Ok(Exit::Done);
    }
    let columns = ["count", "fingerprint", "source", "stream", "last failed", "error"].map(String::from);
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
    write_table(&mut out, &columns, &rows)?;
    Ok(Exit::Done)
}

async fn show(store: &Store, id: i64) -> anyhow::Result<Exit> {
    let found = store.dead_letters.list(&DeadFilter { ids: Some(vec![id]), ..DeadFilter::default() }).await?;
    let letter =
        found.first().ok_or_else(|| Usage(format!("no dead letter {id} waits: see `pagemill dead list`")))?;
    let mut shown = serde_json::to_value(letter)?;
    // As it is, if it is JSON at all.
    shown["message"] = serde_json::from_slice(&letter.message)
        .unwrap_or_else(|_| String::from_utf8_lossy(&letter.message).into_owned().into());
    println!("{}", serde_json::to_string_pretty(&shown)?);
    Ok(Exit::Done)
}

/// First the ledger decides (generation, attempts, partition reopened), then the jobs are published
/// and confirmed, then the letters leave the dead-letter queue. Dying in between loses nothing: the
/// next requeue finds what was decided and not published.
async fn requeue(database: &Database, filter: &DeadFilter) -> anyhow::Result<Exit> {
    let store = &database.store;
    if database.is_embedded() {
        // Its queue lives and dies with `pagemill run`, which finds the reopened pages in the ledger.
        let decided = decide(store, filter).await?;
        store.dead_letters.mark_requeued(&decided.ids()).await?;
        return Ok(decided.said(": `pagemill run` of their days continues with them"));
    }
    let queue = connect(&database.config).await?;
    let lock = store.dead_letters.lock().await?;
    let decided = decide(store, filter).await?;
    fail::fail_point!("requeue-before-publish");
    for (_, job) in &decided.jobs {
        let to = Address::Lane { source: job.slice.source.clone(), lane: job.lane };
        queue.publish(&to, [message(job)]).await?;
    }
    store.dead_letters.mark_requeued(&decided.ids()).await?;
    sweep(&queue, store, &database.config).await?;
    drop(lock);
    queue.close().await;
    Ok(decided.said(""))
}

/// What the ledger lets be requeued.
struct Decided {
    jobs: Vec<(i64, PageJob)>,
    refused: usize,
}

async fn decide(store: &Store, filter: &DeadFilter) -> anyhow::Result<Decided> {
    let mut decided = Decided { jobs: Vec::new(), refused: 0 };
    for Requeued { id, job, .. } in store.dead_letters.requeue(filter).await? {
        match job {
            Ok(job) => decided.jobs.push((id, job)),
            Err(why) => {
                decided.refused += 1;
                eprintln!("{id}: {why}");
            }
        }
    }
    Ok(decided)
}

impl Decided {
    fn ids(&self) -> Vec<i64> {
        self.jobs.iter().map(|(id, _)| *id).collect()
    }

    fn said(&self, more: &str) -> Exit {
        match (self.jobs.len(), self.refused) {
            (0, 0) => println!("no such dead letter waits"),
            (requeued, _) => println!("{requeued} requeued{more}"),
        }
        if self.refused > 0 { Exit::Failed } else { Exit::Done }
    }
}

async fn drop_letters(database: &Database, filter: &DeadFilter) -> anyhow::Result<Exit> {
    let store = &database.store;
    let dropped = if database.is_embedded() {
        store.dead_letters.drop(filter).await?
    } else {
        let queue = connect(&database.config).await?;
        let lock = store.dead_letters.lock().await?;
        let dropped = store.dead_letters.drop(filter).await?;
        sweep(&queue, store, &database.config).await?;
        drop(lock);
        queue.close().await;
        dropped
    };
    println!("{dropped} dropped");
    Ok(Exit::Done)
}

async fn connect(config: &Config) -> anyhow::Result<Rabbit> {
    app::connect_queue(config, &app::resolve(config)?).await
}

/// One pass over the dead-letter queue: letters that no longer wait leave it, those that the broker
/// put there by itself are recorded.
async fn sweep(queue: &Rabbit, store: &Store, config: &Config) -> anyhow::Result<()> {
    for resolved in app::resolve(config)? {
        pagemill_engine::partition::rescue::reconcile_dead(store, queue, resolved.name()).await?;
    }
    Ok(())
}
