//! A report is read in constant memory. Alone in its process, because memory is counted for a process; never about time.

#[path = "../benches/report_parsing/served_report.rs"]
mod served_report;

use served_report::{CASES, measure};

const MEGABYTE: u64 = 1024 * 1024;
/// Well below the report's twenty.
const MAX_GROWTH_BYTES: u64 = 12 * MEGABYTE;

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_never_in_memory_as_a_whole() {
    for case in CASES {
        let megabytes = 20;
        let measured = measure(case, megabytes * MEGABYTE as usize).await;
        // For whoever looks; a machine that is busy with other tests says nothing about speed.
        println!("{}: {:?}", case.name, measured.took);
        assert!(measured.bytes >= megabytes as u64 * MEGABYTE);
        assert_eq!(measured.rows, measured.rows_served, "{}", case.name);
        assert!(measured.rss_growth_bytes <= MAX_GROWTH_BYTES, "{}: {measured:?}", case.name);
    }
}
