//! Pages and lists over a ledger of a million jobs: how long each takes on the server.
//!
//! ```sh
//! eval "$(cargo xtask services env)"; cargo bench -p console --bench pages    # BENCH_JOBS=1000000 BENCH_REQUESTS=200
//! ```
//!
//! Fills a database of its own, asks every page that the router declares and every list of the API over loopback, one request
//! after another, and prints one JSON object a line: the pages, the slowest last, then what was promised (95 of 100 requests
//! within 100 ms, whatever page) and whether it was kept. `BENCH_KEEP=1` prints where the database is, and `BENCH_DATABASE=URL`
//! measures that one again.

#[path = "pages/asked.rs"]
mod asked;
#[path = "pages/filled.rs"]
mod filled;

use std::time::Duration;

use runtime::{
    clock::{Clock, SystemClock},
    env::{Environment, ProcessEnvironment},
    testing::{TestDatabase, TestRedis},
};
use serde_json::json;

use asked::{Asked, Measured};
use filled::Amount;

/// What is promised of every page, at the 95th percentile.
const WITHIN: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() {
    let number = |name: &str, usual: i64| {
        ProcessEnvironment
            .get(name)
            .map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let amount = Amount::of(number("BENCH_JOBS", 1_000_000));
    let times = usize::try_from(number("BENCH_REQUESTS", 200)).expect("a count");
    let redis = TestRedis::new().await;
    let began = tokio::time::Instant::now();
    let database = match ProcessEnvironment.get("BENCH_DATABASE") {
        Some(url) => {
            TestDatabase { pool: sqlx::PgPool::connect(&url).await.expect("the database is there"), url }
        }
        None => {
            let database = TestDatabase::new().await;
            filled::fill(&database.pool, amount, SystemClock.now()).await.expect("the rows fit");
            database
        }
    };
    println!(
        "{}",
        json!({ "filled_in_s": began.elapsed().as_secs(), "jobs": amount.jobs, "dead": amount.dead, "waiting": amount.waiting })
    );
    if ProcessEnvironment.get("BENCH_KEEP").is_some() {
        println!("{}", json!({ "database": database.url, "prefix": redis.redis.prefix() }));
    }
    let asked = Asked::start(&database, &redis).await;
    let mut all = asked.all(times).await;
    all.sort_by(|one, other| one.at_most(95).total_cmp(&other.at_most(95)));
    for page in &all {
        println!("{}", page.told());
    }
    let within_ms = WITHIN.as_secs_f64() * 1_000.0;
    let late: Vec<_> =
        all.iter().filter(|page| page.at_most(95) > within_ms).map(|page| page.address.as_str()).collect();
    let broken: Vec<_> =
        all.iter().filter(|page| page.status >= 500).map(|page| page.address.as_str()).collect();
    let slowest = all.last().map(Measured::told);
    println!(
        "{}",
        json!({ "pages": all.len(), "p95_promised_ms": within_ms, "late": late, "broken": broken, "slowest": slowest })
    );
    asked.stop();
    assert!(late.is_empty() && broken.is_empty(), "the promise is broken by {late:?} {broken:?}");
}
