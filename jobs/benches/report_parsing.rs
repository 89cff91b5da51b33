//! How fast a report is fetched, decoded and parsed, and in how much memory.
//!
//! `cargo bench -p jobs --bench report_parsing -- --megabytes 200` serves a feedback report of that size on loopback, once
//! for each charset and once compressed, reads it as a job does, and prints JSON. The server runs in the same process, so
//! that its part of the time and of the memory is counted too. It fails when a report takes more memory than it may.

#[path = "report_parsing/served_report.rs"]
mod served_report;

use std::process::ExitCode;

use serde_json::json;
use served_report::{CASES, measure};

const MEGABYTE: u64 = 1024 * 1024;
/// Most memory that reading a report may take, whatever its size.
const MAX_GROWTH_BYTES: u64 = 64 * MEGABYTE;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let given = arguments.iter().position(|word| word == "--megabytes").and_then(|at| arguments.get(at + 1));
    let megabytes: usize = match given.map_or(Ok(200), |text| text.parse()) {
        Ok(megabytes) => megabytes,
        Err(error) => {
            eprintln!("--megabytes takes a number: {error}");
            return ExitCode::from(2);
        }
    };
    let mut within = true;
    let mut cases = Vec::new();
    for case in CASES {
        let measured = measure(case, megabytes * MEGABYTE as usize).await;
        within &= measured.rss_growth_bytes <= MAX_GROWTH_BYTES && measured.rows == measured.rows_served;
        let size = measured.bytes as f64 / MEGABYTE as f64;
        cases.push(json!({
            "report": case.name,
            "megabytes": size.round(),
            "rows": measured.rows,
            "seconds": (measured.took.as_secs_f64() * 1_000.0).round() / 1_000.0,
            "megabytes_per_second": (size / measured.took.as_secs_f64()).round(),
            "rss_growth_megabytes": (measured.rss_growth_bytes as f64 / MEGABYTE as f64 * 10.0).round() / 10.0,
        }));
    }
    println!("{:#}", json!({"bench": "report_parsing", "cases": cases}));
    if within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
