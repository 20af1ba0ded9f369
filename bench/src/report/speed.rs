use super::{Goal, goals, megabytes, or_dash, percent, table};
use crate::{
    contestant::{BASE, BASELINE, ONE},
    measurement::Run,
    plot::thousands,
    probe::Probe,
    repull::Repull,
    speed::Speed,
    statistics::{median, ratio, spread},
};

/// Names in the order in which they first ran.
fn names(runs: &[Run]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for run in runs {
        if !names.contains(&run.name.as_str()) {
            names.push(&run.name);
        }
    }
    names
}

/// The median of a figure over a contestant's rounds.
fn of(runs: &[Run], name: &str, figure: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
    median(runs.iter().filter(|run| run.name == name).filter_map(figure))
}

fn rows_a_second(speed: &Speed, name: &str) -> Option<f64> {
    of(&speed.runs, name, |run| Some(run.rows_a_second()))
}

/// Contestants before limits, the fastest first.
fn ranked(speed: &Speed) -> Vec<&str> {
    let mut names = names(&speed.runs);
    names.sort_by(|a, b| {
        let key = |name: &str| (name.starts_with("limit"), rows_a_second(speed, name).unwrap_or_default());
        let (a, b) = (key(a), key(b));
        a.0.cmp(&b.0).then(b.1.total_cmp(&a.1))
    });
    names
}

/// Jobs are no rows.
fn is_jobs(name: &str) -> bool {
    name.ends_with("(jobs)")
}

/// For the plot.
pub(super) fn bars(speed: &Speed) -> Vec<(String, f64)> {
    let names = ranked(speed).into_iter().filter(|name| !is_jobs(name));
    names.filter_map(|name| Some((name.to_owned(), rows_a_second(speed, name)?))).collect()
}

pub(super) fn page(speed: &Speed) -> String {
    let Speed { pages, workers, rounds, .. } = speed;
    let mut text = format!(
        "{pages} pages of 100 rows, responses kept, {workers} workers, an unlimited API that serves rendered \
         bytes (warmed by a pass before). Contestants run one after another, {rounds} rounds; the median, ± half \
         of the range. `×` is rows/s over the {BASE}'s, within a round. Seconds are from the program's start \
         (with a queue: the consumers'; publishing stands apart) until all is stored, with Pagemill sealed too. \
         CPU is in seconds per million rows. RSS is the largest process's peak, in MB.\n\n\
         Pagemill stores 34 typed columns, a fence and the response once a page, compressed; Go and Celery 8 \
         columns and the row as jsonb, dlt every field, faucet-cli only jsonb, without a key. All request \
         the same fields and get the same bytes.\n\n"
    );
    text += &full_table(speed);
    text += &comparison(speed);
    text += &costs(speed);
    if !speed.publishing.is_empty() {
        text += "\nThe producer alone, its start and the first page included:\n\n";
        let rows: Vec<_> = speed.publishing.iter().map(publishing).collect();
        text += &table(&["", "s", "jobs/s", "CPU s", "RSS MB"], &rows);
    }
    if !speed.repulls.is_empty() {
        text += "\nThe same day pulled again, unchanged (producer and one consumer):\n\n";
        text += &repulls(&speed.repulls);
    }
    for (name, why) in &speed.skipped {
        text += &format!("\nNot measured: {name} ({}).\n", why.lines().next().unwrap_or_default());
    }
    text + "\n" + &goals(targets(speed))
}

fn full_table(speed: &Speed) -> String {
    let rows: Vec<_> = ranked(speed).into_iter().map(|name| row(speed, name)).collect();
    table(
        &[
            "",
            "rows/s",
            "±",
            "pages/s",
            "×",
            "publish s",
            "CPU program",
            "PostgreSQL",
            "RabbitMQ",
            "API",
            "RSS",
            "processes",
        ],
        &rows,
    )
}

fn row(speed: &Speed, name: &str) -> Vec<String> {
    let runs = &speed.runs;
    let speeds: Vec<f64> = runs.iter().filter(|r| r.name == name).map(Run::rows_a_second).collect();
    let cpu = |figure: fn(&Run) -> Option<f64>| {
        or_dash(of(runs, name, |run| run.per_million_rows(figure(run))), |f| format!("{f:.1}"))
    };
    vec![
        name.to_owned(),
        or_dash(median(speeds.iter().copied()), thousands),
        or_dash(spread(&speeds), |f| percent(f, 0)),
        or_dash(of(runs, name, |run| Some(run.pages as f64 / run.seconds)), thousands),
        or_dash(ratio(runs, name, BASE).filter(|_| !is_jobs(name)), |f| format!("{f:.2}")),
        or_dash(of(runs, name, |run| run.publish_seconds), |f| format!("{f:.2}")),
        cpu(|run| run.cpu.program),
        cpu(|run| run.cpu.servers.postgres),
        cpu(|run| run.cpu.servers.rabbit),
        cpu(|run| run.cpu.api),
        or_dash(of(runs, name, |run| run.peak_rss.map(|bytes| bytes as f64)), megabytes),
        or_dash(of(runs, name, |run| Some(run.processes as f64)), |f| format!("{f:.0}")),
    ]
}

type OfRun = fn(&Run) -> Option<f64>;

/// Two builds of Pagemill side by side, if there was a baseline.
fn comparison(speed: &Speed) -> String {
    let Some(baseline) = &speed.baseline else { return String::new() };
    let value = |name, of_run: OfRun| of(&speed.runs, name, of_run);
    let lines: [(&str, OfRun); 5] = [
        ("rows/s", |run| Some(run.rows_a_second())),
        ("publish s", |run| run.publish_seconds),
        ("CPU s of the consumer, per million rows", |run| run.per_million_rows(run.cpu.program)),
        ("CPU s of PostgreSQL, per million rows", |run| run.per_million_rows(run.cpu.servers.postgres)),
        ("peak RSS of the consumer, MB", |run| run.peak_rss.map(|bytes| bytes as f64 / 1e6)),
    ];
    let rows: Vec<_> = lines
        .into_iter()
        .map(|(what, of_run)| {
            let (old, new) = (value(BASELINE, of_run), value(ONE, of_run));
            let number = |n| or_dash(n, |n: f64| if n >= 1e3 { thousands(n) } else { format!("{n:.2}") });
            let change = old.zip(new).map(|(old, new)| new / old - 1.0);
            vec![
                what.to_owned(),
                number(old),
                number(new),
                or_dash(change, |c| format!("{:+.1} %", 100.0 * c)),
            ]
        })
        .collect();
    let head = format!("\nOne consumer, beside the build in `{}`; medians:\n\n", baseline.display());
    head + &table(&["", "baseline", "this build", "change"], &rows)
}

/// What correctness costs, item by item, and what was got back.
fn costs(speed: &Speed) -> String {
    let cpu = |name: &str, figure: fn(&Run) -> Option<f64>| {
        of(&speed.runs, name, |run| run.per_million_rows(figure(run)))
    };
    let program: fn(&Run) -> Option<f64> = |run| run.cpu.program;
    let postgres: fn(&Run) -> Option<f64> = |run| run.cpu.servers.postgres;
    let title = |probe: Probe| Probe::title(probe).to_owned();
    let without = |way: &str| format!("{ONE}, {way}");
    // What stands on one side less what stands on the other.
    let items = [
        ("all of it", ONE.to_owned(), None),
        ("responses kept: compressed, sent, stored", ONE.to_owned(), Some(without("no responses kept"))),
        ("of that, compression", title(Probe::Compress), None),
        ("hashes of keys and rows, sums, blank columns", title(Probe::Prove), None),
        ("ledger: a row a page with its key hashes, counters", title(Probe::Ledger), None),
        ("seal", title(Probe::Seal), None),
        (
            "a slot for each request, at full speed",
            without("a quota that never limits"),
            Some(ONE.to_owned()),
        ),
        (
            "the fence, where rows may be in the way (upsert over COPY)",
            title(Probe::Upsert),
            Some(title(Probe::Store)),
        ),
    ];
    let rows: Vec<_> = items
        .into_iter()
        .filter_map(|(item, with, without)| {
            let cost = |figure| match &without {
                None => cpu(&with, figure),
                Some(without) => Some(cpu(&with, figure)? - cpu(without, figure)?),
            };
            let (program, postgres) = (cost(program), cost(postgres));
            program.or(postgres)?;
            let seconds = |of| or_dash(of, |s: f64| format!("{s:.2}"));
            Some(vec![item.to_owned(), seconds(program), seconds(postgres)])
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = "\nWhat correctness costs, in CPU seconds per million rows (differences of two runs, or a part alone):\n\n";
    head.to_owned() + &table(&["", "consumer", "PostgreSQL"], &rows)
}

fn publishing(run: &Run) -> Vec<String> {
    vec![
        run.name.clone(),
        format!("{:.2}", run.seconds),
        thousands(run.rows_a_second()),
        or_dash(run.cpu.program, |f| format!("{f:.2}")),
        or_dash(run.peak_rss.map(|bytes| bytes as f64), megabytes),
    ]
}

fn repulls(repulls: &[Repull]) -> String {
    let pair = |[a, b]: [i64; 2]| format!("{} → {}", megabytes(a as f64), megabytes(b as f64));
    let one = |s: f64| format!("{s:.1}");
    let cpu = |[a, b]: [Option<f64>; 2]| format!("{} → {}", or_dash(a, one), or_dash(b, one));
    let rows: Vec<_> = repulls
        .iter()
        .map(|r| {
            vec![
                r.round.to_string(),
                format!("{:.2}", r.first_seconds),
                format!("{:.2}", r.again_seconds),
                percent(r.again_seconds / r.first_seconds, 0),
                cpu([r.cpu[0].program, r.cpu[1].program]),
                cpu([r.cpu[0].servers.postgres, r.cpu[1].servers.postgres]),
                r.updated_rows.to_string(),
                r.dead_rows.to_string(),
                pair(r.table_bytes),
                pair(r.database_bytes),
                pair(r.wal_bytes),
                or_dash(r.table_wal_bytes.map(|b| b as f64), megabytes),
            ]
        })
        .collect();
    table(
        &[
            "round",
            "first s",
            "again s",
            "time",
            "CPU s consumer",
            "PostgreSQL",
            "rows rewritten",
            "dead rows",
            "table + indexes MB",
            "database MB",
            "WAL MB, first → again",
            "of it the data table's",
        ],
        &rows,
    )
}

fn targets(speed: &Speed) -> Vec<Goal> {
    let runs = &speed.runs;
    let over = |peer: &str| ratio(runs, ONE, peer);
    let cpu = |figure: fn(&Run) -> Option<f64>| of(runs, ONE, |run| run.per_million_rows(figure(run)));
    let rss = |name: &str| of(runs, name, |run| Some(run.peak_rss? as f64 / 1e6));
    let many = names(runs).into_iter().find(|name| name.contains("32 workers")).unwrap_or_default();
    let beside = |consumers: u32| ratio(runs, &format!("Pagemill over RabbitMQ, {consumers} consumers"), ONE);
    let jobs = |most: f64| speed.publishing.iter().find(|run| run.rows as f64 == most).map(|run| run.seconds);
    let again = |figure: fn(&Repull) -> f64| median(speed.repulls.iter().map(figure));
    vec![
        Goal::at_least("one consumer over the Go pool", 4.0, over(BASE), " ×"),
        Goal::at_least("over Go over RabbitMQ", 4.5, over("Go over RabbitMQ"), " ×"),
        Goal::at_least("over Celery with prefork", 4.0, over("Celery, prefork"), " ×"),
        Goal::at_least("over faucet-cli", 8.0, over("faucet-cli"), " ×"),
        Goal::at_least("over dlt", 15.0, over("dlt"), " ×"),
        Goal::at_most("CPU of the consumer, per million rows", 5.0, cpu(|run| run.cpu.program), " s"),
        Goal::at_most("CPU of PostgreSQL, per million rows", 6.0, cpu(|run| run.cpu.servers.postgres), " s"),
        Goal::at_most("CPU of RabbitMQ, per million rows", 2.0, cpu(|run| run.cpu.servers.rabbit), " s"),
        Goal::at_most("consumer's RSS", 30.0, rss(ONE), " MB"),
        Goal::at_most("consumer's RSS with 32 workers", 40.0, rss(many), " MB"),
        Goal::at_least("2 consumers over 1", 1.0, beside(2), " ×"),
        Goal::at_least("4 consumers over 1", 1.0, beside(4), " ×"),
        Goal::at_most("publishing 10,000 jobs", 0.3, jobs(1e4), " s"),
        Goal::at_most("publishing 1,000,000 jobs", 30.0, jobs(1e6), " s"),
        Goal::at_most(
            "pulling again, of the first pull's time",
            60.0,
            again(|r| 100.0 * r.again_seconds / r.first_seconds),
            " %",
        ),
        Goal::at_most("dead rows of pulling again", 0.0, again(|r| r.dead_rows as f64), ""),
    ]
}

/// What stands in the main README.
pub(super) fn summary(speed: &Speed) -> String {
    let rows: Vec<_> = ranked(speed)
        .into_iter()
        .map(|name| {
            let full = row(speed, name);
            [0, 1, 4, 6, 7, 8, 10].map(|column| full[column].clone()).to_vec()
        })
        .collect();
    table(&["", "rows/s", "× Go pool", "CPU s / M rows", "PostgreSQL", "RabbitMQ", "RSS MB"], &rows)
        + &comparison(speed)
        + "\n"
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::measurement::tests::run;

    /// The figures that are kept are still read, and a comparison stands beside them only where there was one.
    #[test]
    fn a_baseline_is_compared_by_medians() {
        let mut speed: Speed = serde_json::from_str(include_str!("../../../docs/bench/speed.json")).unwrap();
        assert_eq!(comparison(&speed), "");
        assert!(summary(&speed).contains(ONE));
        speed.baseline = Some(PathBuf::from("/old"));
        speed.runs = [(BASELINE, 1, 2.0), (ONE, 1, 1.0), (ONE, 2, 4.0), (BASELINE, 2, 3.0)]
            .map(|(name, round, seconds)| run(name, round, seconds))
            .to_vec();
        let text = comparison(&speed);
        assert!(text.contains("`/old`") && text.contains("| rows/s | 416.67 | 625.00 | +50.0 % |"), "{text}");
        assert!(text.contains("| publish s | – | – | – |"), "{text}");
    }
}
