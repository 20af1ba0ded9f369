//! Five workers, a thousand jobs, some of which panic.

use std::time::{Duration, Instant};

use pagemill_pool::{JobOutcome, Pool};

const JOBS: u32 = 1000;

/// Stands for a request of a few milliseconds; every 97th response is one that nobody thought of.
async fn fetch(page: u32) -> usize {
    tokio::time::sleep(Duration::from_millis(2)).await;
    if page.is_multiple_of(97) {
        panic!("page {page} is not what it should be");
    }
    100
}

#[tokio::main]
async fn main() {
    let start = Instant::now();
    let Pool { jobs, mut results } =
        Pool::builder().workers(5).jobs(20).results(20).start(|page: &u32| Box::pin(fetch(*page)));

    tokio::spawn(async move {
        for page in 1..=JOBS {
            if jobs.submit(page).await.is_err() {
                break;
            }
        }
    });

    let (mut rows, mut done, mut failed, mut returned) = (0, 0, Vec::new(), 0);
    while let Some(outcome) = results.next().await {
        match outcome {
            JobOutcome::Done { result, .. } => {
                rows += result;
                done += 1;
            }
            JobOutcome::Failed { panic, .. } => failed.push(panic),
            JobOutcome::Returned { .. } => returned += 1,
        }
    }

    println!("{done} done ({rows} rows), {} failed, {returned} returned", failed.len());
    for panic in &failed {
        println!("  {panic}");
    }
    println!("{} stuck, {:.1?}", results.stuck(), start.elapsed());
}
