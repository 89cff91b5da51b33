//! Every page and every list answers over a ledger that is full; how fast with a million jobs is measured by
//! `cargo bench -p console --bench pages`, of which this is a short run.

#[path = "../../benches/pages/asked.rs"]
mod asked;
#[path = "../../benches/pages/filled.rs"]
mod filled;

use std::collections::BTreeSet;

use runtime::{
    clock::{Clock, SystemClock},
    testing::{TestDatabase, TestRedis},
};

/// A page that takes so long over ten thousand jobs reads all of them in a way that a million would not forgive, whatever
/// else this machine does.
const MUCH_TOO_LONG_MS: f64 = 5_000.0;

#[tokio::test]
async fn every_page_answers_over_a_full_ledger() {
    let (database, redis) = (TestDatabase::new().await, TestRedis::new().await);
    filled::fill(&database.pool, filled::Amount::of(10_000), SystemClock.now()).await.expect("the rows fit");
    let asked = asked::Asked::start(&database, &redis).await;
    let all = asked.all(3).await;
    asked.stop();
    let wrong: Vec<_> = all
        .iter()
        .filter(|page| page.status >= 500 || page.at_most(100) > MUCH_TOO_LONG_MS)
        .map(asked::Measured::told)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let well: BTreeSet<_> =
        all.iter().filter(|page| page.status == 200).map(|page| page.address.as_str()).collect();
    for page in [
        "/",
        "/?span=7d",
        "/queues",
        "/kinds",
        "/workers",
        "/reliability",
        "/jobs",
        "/jobs/{id}",
        "/dead",
        "/sellers",
        "/live",
    ] {
        assert!(well.contains(page), "{page} is not among {well:?}");
    }
}
