//! The overview that keeps itself fresh: however many look, it is read once; and nobody looks on who may no longer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use console::{auth::Role, pages::LIVE_EVERY};
use runtime::env::{DATABASE_URL, Environment, ProcessEnvironment};
use sqlx::{Connection, PgConnection};
use tokio::{task::JoinSet, time::Instant};

use crate::amzigo::{Amzigo, Serving};

const PATIENCE: Duration = Duration::from_secs(60);

/// Pages that lie open, and how often each was told of an overview.
struct Open {
    told: Vec<Arc<AtomicUsize>>,
    /// Hold the streams; each ends with how it ended.
    streams: JoinSet<()>,
}

impl Open {
    async fn pages(console: &Serving, count: usize) -> Self {
        let mut open = Self { told: Vec::new(), streams: JoinSet::new() };
        for _ in 0..count {
            let mut answer = console.stream("/live?span=1h").await;
            assert_eq!(answer.status().as_u16(), 200);
            assert_eq!(answer.headers()["content-type"], "text/event-stream");
            let told = Arc::new(AtomicUsize::new(0));
            open.told.push(Arc::clone(&told));
            open.streams.spawn(async move {
                let mut text = Vec::new();
                while let Ok(Some(piece)) = answer.chunk().await {
                    text.extend_from_slice(&piece);
                    let seen = String::from_utf8_lossy(&text).matches("event: overview").count();
                    told.store(seen, Ordering::Relaxed);
                }
            });
        }
        open
    }

    /// Waits until every page has been told so often.
    async fn until_told(&self, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.told.iter().any(|told| told.load(Ordering::Relaxed) < times) {
            assert!(Instant::now() < deadline, "not all pages were told {times} times");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn least(&self) -> usize {
        self.told.iter().map(|told| told.load(Ordering::Relaxed)).min().unwrap_or(0)
    }
}

/// Transactions of a database, as Postgres counts them, seen from another one.
async fn transactions(seen_from: &mut PgConnection, database: &str) -> i64 {
    sqlx::query_scalar("select xact_commit from pg_stat_database where datname = $1")
        .bind(database)
        .fetch_one(seen_from)
        .await
        .expect("Postgres counts them")
}

#[tokio::test]
async fn a_hundred_open_pages_cost_what_one_costs() {
    const REFRESHES: usize = 6;
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let url = ProcessEnvironment.get(DATABASE_URL.name).expect("the tests have a database");
    let mut elsewhere = PgConnection::connect(&url).await.expect("Postgres answers");
    let database = amzigo.database.url.rsplit('/').next().expect("a name").to_owned();

    let mut cost = Vec::new();
    let mut all = Vec::new();
    for count in [1, 99] {
        all.push(Open::pages(&console, count).await);
        // What opening them cost has been counted by then.
        let begin: Vec<_> = all.iter().map(|open| open.least() + 3).collect();
        for (open, begin) in all.iter().zip(&begin) {
            open.until_told(*begin).await;
        }
        let before = transactions(&mut elsewhere, &database).await;
        for (open, begin) in all.iter().zip(&begin) {
            open.until_told(begin + REFRESHES).await;
        }
        cost.push(transactions(&mut elsewhere, &database).await - before);
    }
    let (one, hundred) = (cost[0], cost[1]);
    assert!(one > 0, "a page that lies open is refreshed");
    // Postgres adds up what a connection did a second later: one refresh more or less.
    let a_refresh = one / i64::try_from(REFRESHES).expect("few") + 1;
    assert!(hundred <= one + 2 * a_refresh, "one page: {one} transactions, a hundred: {hundred}");

    drop(all);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = transactions(&mut elsewhere, &database).await;
        tokio::time::sleep(LIVE_EVERY * 2).await;
        if transactions(&mut elsewhere, &database).await == before {
            break;
        }
        assert!(Instant::now() < deadline, "nobody looks, and the overview is read all the same");
    }
}

#[tokio::test]
async fn a_session_that_is_revoked_sees_no_more_and_others_do() {
    let amzigo = Amzigo::new().await;
    let mut console = Serving::start(&amzigo).await;
    let stays = Open::pages(&console, 1).await;
    console.sign_in(&amzigo, &[Role::Operator]).await;
    let mut leaves = Open::pages(&console, 2).await;
    leaves.until_told(1).await;
    sqlx::query("update sessions set revoked_at = now() where staff_id in (select id from staff where 'operator' = any(roles))")
        .execute(&amzigo.database.pool)
        .await
        .expect("they can be revoked");
    let seen = stays.least();
    for _ in 0..2 {
        let ended = tokio::time::timeout(PATIENCE, leaves.streams.join_next()).await;
        ended.expect("the stream ends").expect("there are two").expect("it does not panic");
    }
    stays.until_told(seen + 2).await;
    assert_eq!(
        console.get("/live").await.headers["location"],
        "/sign-in?to=%2Flive",
        "and gets no other stream"
    );
}

#[tokio::test]
async fn who_asks_for_no_stream_gets_one_word_and_the_page_says_where_news_are() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let word = console.get("/live?span=24h").await;
    assert_eq!(word.status, 200);
    assert_eq!(word.text.matches("event: overview").count(), 1);
    assert!(word.text.contains("The last 24 hours"), "{}", word.text);
    let page = console.get("/?span=24h").await;
    assert!(page.text.contains("data-stream=\"/live?span=24h\""), "{}", page.text);
    assert_eq!(console.get("/?span=2h").await.status, 400);
}
