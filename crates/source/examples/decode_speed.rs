//! How fast pages become typed columns, on one core: `cargo run --release --example decode_speed`.

use std::{hint::black_box, time::Instant};

use bytes::Bytes;
use jiff::civil::date;
use pagemill_core::{Lane, PageJob, Slice, WriteMode};
use pagemill_source::Definition;

const ROWS: u64 = 100;
const PAGES: u32 = 5_000;
const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let definition = Definition::shipped("xiaohongshu")?;
    let job = PageJob {
        v: PageJob::VERSION,
        partition: 1,
        run: 1,
        slice: Slice {
            source: "xiaohongshu".into(),
            stream: "creative".into(),
            account: "1001".into(),
            from: date(2026, 11, 23),
            to: date(2026, 11, 23),
            part: Default::default(),
        },
        page: 1,
        page_size: ROWS as u32,
        generation: 0,
        attempt: 0,
        lane: Lane::High,
        cursor: None,
        write_mode: WriteMode::Direct,
        baseline: None,
    };
    let body = body();
    let page = definition.decode(&job, body.clone())?;
    assert!(page.cast_failures.is_empty(), "{:?}", page.cast_failures);
    println!("{} rows × {} columns, {} bytes", page.rows.len(), page.rows.columns().len(), body.len());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..PAGES {
            black_box(definition.decode(&job, black_box(body.clone()))?);
        }
        let rows = ROWS as f64 * f64::from(PAGES) / start.elapsed().as_secs_f64();
        println!("{rows:.0} rows/s, {:.0} MB/s", rows * body.len() as f64 / ROWS as f64 / 1e6);
    }
    Ok(())
}

/// A page as the API sends it: numbers as text, every second row with thousands commas.
fn body() -> Bytes {
    let rows: Vec<_> = (0..ROWS).map(row).collect();
    let head = r#"{"code":0,"success":true,"msg":"成功","request_id":"5f3c9a77"#;
    let total = r#"","data":{"total_count":1000000,"aggregation_data":{"fee":"1,234.50"},"data_list":["#;
    format!("{head}{total}{}]}}}}", rows.join(",")).into()
}

fn row(i: u64) -> String {
    let (id, comma) = (9_007_199_254_740_993 + i, if i.is_multiple_of(2) { "1," } else { "" });
    format!(
        r#"{{"time":"2026-11-23","creativity_id":"{id}","creativity_name":"秋日穿搭{i:05}","campaign_id":7{i}00,"campaign_name":"双11种草{i:05}","unit_id":"8{i}0","unit_name":"信息流{i:05}","note_id":"65f3c9a7712ab00{i:08}","placement":1,"optimize_target":0,"promotion_target":9,"bidding_strategy":2,"build_type":0,"marketing_target":4,"fee":"{comma}253.26","impression":"{comma}655","click":"203","ctr":"3.59%","acp":"0.26","cpm":"-","like":"31","comment":"7","collect":"12","follow":"-","share":"3","interaction":"53","cpi":"1.01"}}"#
    )
}
