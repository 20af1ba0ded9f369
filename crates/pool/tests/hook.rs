//! The panic hook belongs to the whole process, so this test is alone in its own.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use pagemill_pool::{JobOutcome, Pool};

static SHOWN: AtomicUsize = AtomicUsize::new(0);

#[tokio::test]
async fn only_panics_outside_handlers_reach_the_hook_that_was_there() {
    std::panic::set_hook(Box::new(|_| {
        SHOWN.fetch_add(1, SeqCst);
    }));
    let Pool { jobs, mut results, .. } = Pool::builder().start(|job: &u32| {
        Box::pin(async move {
            // A thread of the handler's own is not inside the handler.
            std::thread::spawn(|| panic!("elsewhere")).join().unwrap_err();
            tokio::task::yield_now().await;
            assert_ne!(*job, 0, "contained");
        })
    });
    jobs.submit(0).await.unwrap();
    let outcome = tokio::time::timeout(Duration::from_secs(10), results.next()).await.expect("a deadlock");
    assert!(matches!(outcome, Some(JobOutcome::Failed { .. })));
    assert_eq!(SHOWN.load(SeqCst), 1);

    tokio::spawn(async { panic!("somebody else's") }).await.unwrap_err();
    assert_eq!(SHOWN.load(SeqCst), 2);
}
