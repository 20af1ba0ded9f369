//! The shipped definitions against the simulator's dialects: every stream's pages, totals and sums, and
//! what failures mean.

use std::{collections::BTreeMap, sync::Arc};

use pagemill_core::{Column, FailureClass, FetchedPage, Lane, PageJob, Slice, WriteMode};
use pagemill_simulator::{Fault, FaultKind, Simulator, SimulatorConfig};
use pagemill_source::{Client, Credential, Definition, Fetch, Paging, Stream};
use rust_decimal::Decimal;

const SIBLINGS: [&str; 7] = ["oceanengine", "tencent", "kuaishou", "baidu", "meta", "tiktok", "example"];
const ROWS: u64 = 1_750;

struct Platform {
    simulator: Simulator,
    definition: Arc<Definition>,
    client: Client,
}

impl Platform {
    async fn new(name: &str, rows: u64) -> Self {
        let token = Some("right".to_owned());
        let simulator =
            Simulator::start(SimulatorConfig { port: 0, rows, token, ..SimulatorConfig::default() })
                .await
                .unwrap();
        let overrides = format!("base_url = \"{}\"", simulator.url()).parse().unwrap();
        let definition = Arc::new(Definition::load(name, overrides).unwrap());
        let client = Client::new(definition.clone()).unwrap();
        Self { simulator, definition, client }
    }

    fn job(&self, stream: &Stream) -> PageJob {
        let day = "2026-01-15".parse().unwrap();
        PageJob {
            v: PageJob::VERSION,
            partition: 1,
            run: 1,
            slice: Slice {
                source: self.definition.name().to_owned(),
                stream: stream.name().to_owned(),
                account: "1001".to_owned(),
                from: day,
                to: day,
                part: BTreeMap::new(),
            },
            page: 1,
            page_size: stream.page_size(),
            generation: 0,
            attempt: 0,
            lane: Lane::High,
            cursor: None,
            write_mode: WriteMode::Direct,
            baseline: None,
        }
    }

    async fn page(&self, job: &PageJob) -> FetchedPage {
        match self.client.fetch(job, Some(&Credential::from("right"))).await {
            Ok(Fetch::Page(page)) => *page,
            other => panic!("{}: {other:?}", job.slice.stream),
        }
    }

    /// All pages of a slice, one after another.
    async fn pages(&self, stream: &Stream, mut job: PageJob) -> Vec<FetchedPage> {
        let mut pages = Vec::new();
        loop {
            let page = self.page(&job).await;
            job.page += 1;
            let more = match stream.paging() {
                Paging::Numbered => u64::from((job.page - 1) * job.page_size) < page.total.unwrap(),
                Paging::Chained | Paging::Single => page.next.is_some(),
            };
            job.cursor = page.next.clone();
            pages.push(page);
            if !more {
                return pages;
            }
        }
    }

    /// The class of a failed request for the stream's first page.
    async fn refused(&self, job: &PageJob, token: &str) -> FailureClass {
        let failure = self.client.fetch(job, Some(&Credential::from(token))).await.unwrap_err();
        assert!(!failure.message.contains(token), "{}", failure.message);
        failure.class
    }
}

fn sum(pages: &[FetchedPage], column: usize) -> Decimal {
    let values = |page: &FetchedPage| match &page.rows.columns()[column] {
        Column::Bigint(values) => values.iter().flatten().map(|value| Decimal::from(*value)).sum(),
        Column::Numeric(values) => values.iter().flatten().sum::<Decimal>(),
        other => panic!("{other:?} does not add up"),
    };
    pages.iter().map(values).sum()
}

#[tokio::test]
async fn every_stream_reads_its_platform() {
    for name in SIBLINGS {
        let platform = Platform::new(name, ROWS).await;
        for stream in platform.definition.streams() {
            let of = format!("{name} {}", stream.name());
            let pages = platform.pages(stream, platform.job(stream)).await;
            let rows: usize = pages.iter().map(|page| page.rows.len()).sum();
            assert!(rows > 0 && (stream.name().ends_with("account") || rows > 1), "{of}: {rows} rows");
            for page in &pages {
                assert!(page.cast_failures.is_empty(), "{of}: {:?}", page.cast_failures);
                assert!(stream.paging() == Paging::Chained || page.total == Some(rows as u64), "{of}");
                assert_eq!(page.sums.len(), stream.sums().len(), "{of}");
            }
            for (column, stated) in stream.sums().iter().zip(&pages[0].sums) {
                let name = &stream.table_shape().columns[*column].name;
                assert_eq!(Some(sum(&pages, *column)), *stated, "{of}: {name}");
            }
            assert_eq!(platform.simulator.stats().refused, 0, "{of}");
        }
    }
}

#[tokio::test]
async fn failures_mean_what_they_are() {
    for name in SIBLINGS {
        let platform = Platform::new(name, ROWS).await;
        let stream = platform.definition.streams().next().unwrap();
        let job = platform.job(stream);
        assert_eq!(platform.refused(&job, "wrong").await, FailureClass::Token, "{name}");
        let large = PageJob { page_size: 9_999, ..job.clone() };
        assert_eq!(platform.refused(&large, "right").await, FailureClass::Permanent, "{name}");
        for (kind, class) in [
            (FaultKind::Throttle, FailureClass::Throttled),
            (FaultKind::Error500, FailureClass::Transient),
            (FaultKind::Token, FailureClass::Token),
            (FaultKind::Garbage, FailureClass::Transient),
        ] {
            platform.simulator.set_fault(Fault::share(kind, 1.0));
            assert_eq!(platform.refused(&job, "right").await, class, "{name}: {}", kind.name());
            platform.simulator.clear_fault(kind, None);
        }
    }
}

#[tokio::test]
async fn tencents_parts_make_the_day() {
    let platform = Platform::new("tencent", 10_700).await;
    let stream = platform.definition.stream("creative").unwrap();
    let job = platform.job(stream);
    assert_eq!((platform.page(&job).await.total, stream.max_result_window()), (Some(10_700), Some(10_000)));
    let [(dimension, values)] = &stream.split_by()[..] else { panic!("one dimension") };
    let mut rows = 0;
    for value in values {
        let part = BTreeMap::from([(dimension.clone(), value.clone())]);
        let slice = Slice { part, ..job.slice.clone() };
        let pages = platform.pages(stream, PageJob { slice, ..job.clone() }).await;
        rows += pages.iter().map(|page| page.rows.len()).sum::<usize>();
    }
    assert_eq!(rows, 10_700);
}
