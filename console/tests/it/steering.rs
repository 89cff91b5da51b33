//! Queues, kinds, workers and reliability as pages, and the buttons that pause and limit.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use console::auth::Role;
use queue::{
    WorkerId,
    lease::Rescued,
    recovery::{self, Overtaken},
};

use crate::{
    amzigo::Serving,
    deployment::{Deployment, QUEUE, SELLER},
};

async fn serving(deployment: &Deployment) -> Serving {
    Serving::start_on(&deployment.amzigo, &deployment.redis.url, deployment.redis.redis.prefix()).await
}

fn contains(text: &str, expected: &[&str]) {
    for expected in expected {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[tokio::test]
async fn a_queue_is_paused_and_resumed_by_buttons_and_the_log_knows_who_and_why() {
    let deployment = Deployment::new().await;
    let mut console = serving(&deployment).await;
    assert!(!console.get("/queues").await.text.contains("/queues/sync/pause"), "a viewer has no button");
    assert_eq!(console.post("/queues/sync/pause", &[("reason", "no")]).await.status, 403);
    console.sign_in(&deployment.amzigo, &[Role::Operator]).await;
    contains(&console.get("/queues").await.text, &["action=\"/queues/sync/pause\""]);

    let id = deployment.ready(SELLER).await;
    let done = console.post("/queues/sync/pause", &[("reason", "Amazon is ill")]).await;
    assert_eq!((done.status, &done.headers["location"]), (303, &"/queues".parse().expect("a header")));
    assert_eq!(deployment.takes().await, []);
    contains(
        &console.get("/queues").await.text,
        &["paused", ": Amazon is ill", "action=\"/queues/sync/resume\""],
    );
    console.post("/queues/sync/pause", &[("reason", "again")]).await;
    console.post("/queues/sync/resume", &[("reason", "it is well")]).await;
    assert_eq!(deployment.takes().await, [id]);
    let acts: Vec<_> =
        deployment.amzigo.audit().await.into_iter().map(|(_, act, of, why)| (act, of, why)).collect();
    let act = |action: &str, why: &str| (action.to_owned(), "sync".to_owned(), why.to_owned());
    assert_eq!(acts, [act("controls.pause", "Amazon is ill"), act("controls.resume", "it is well")]);
}

#[tokio::test]
async fn a_kind_is_limited_and_what_makes_no_sense_is_refused() {
    let deployment = Deployment::new().await;
    let mut console = serving(&deployment).await;
    console.sign_in(&deployment.amzigo, &[Role::Operator]).await;
    let limit = |most| [("reason", "spare the database"), ("most", most)];
    assert_eq!(console.post("/kinds/sync_orders/limit", &limit("3")).await.status, 303);
    contains(
        &console.get("/kinds").await.text,
        &["at most 3 at once", ": spare the database", "sync_orders"],
    );
    for wrong in ["0", "-1", "many", "99999999999"] {
        assert_eq!(console.post("/kinds/sync_orders/limit", &limit(wrong)).await.status, 400, "{wrong}");
    }
    assert_eq!(console.post("/kinds/sync_orders/limit", &limit("")).await.status, 303);
    assert!(!console.get("/kinds").await.text.contains("spare the database"), "the limit is gone");
    for nowhere in ["/kinds/no_such_kind/pause", "/kinds/sync_orders/explode", "/queues/nowhere/pause"] {
        assert_eq!(console.post(nowhere, &[("reason", "to see")]).await.status, 404, "{nowhere}");
    }
}

#[tokio::test]
async fn a_worker_is_shown_with_what_it_runs() {
    let deployment = Deployment::new().await;
    let console = serving(&deployment).await;
    contains(&console.get("/workers").await.text, &["No worker lives."]);
    let id = deployment.ready(SELLER).await;
    let (worker, _) = deployment.begin().await;
    contains(&console.get("/workers").await.text, &[&worker.to_string(), &id.to_string(), "not known"]);
    deployment.ledger().introduce(worker, QUEUE, 4, Utc::now()).await.expect("it is written");
    let page = console.get("/workers").await.text;
    contains(&page, &["1 of 4", queue::workers::VERSION, "Nobody works on urgent, mail, heavy, upkeep."]);
}

#[tokio::test]
async fn work_that_came_back_and_what_was_delivered_twice_are_told() {
    let deployment = Deployment::new().await;
    let console = serving(&deployment).await;
    let calm = console.get("/reliability").await.text;
    contains(&calm, &["No worker was lost while it ran something.", "None in the last 7 days."]);

    let id = deployment.ready(SELLER).await;
    let (lost, fence) = deployment.begin().await;
    let (next, now) = (WorkerId::new(), Utc::now());
    let pool = &deployment.amzigo.database.pool;
    let rescued = Rescued { worker: lost, jobs: 1, last_seen_at: now - TimeDelta::seconds(11) };
    recovery::note_lost(pool, QUEUE, &rescued, now).await.expect("it is noted");
    let ledger = deployment.ledger();
    ledger.take_over(next, fence + 1, &[(id, lost, 3)], None, now).await.expect("it is taken over");
    let twice = Overtaken { job: id, fence, finished: true };
    ledger.note_overtaken(lost, &[twice], now).await.expect("it is noted");
    // The denominator comes from the roll-up.
    tokio::time::timeout(Duration::from_secs(30), async {
        while queue::roll_up::pass(pool, true, now).await.expect("it counts").moved {}
    })
    .await
    .expect("it comes to an end");
    let page = console.get("/reliability").await.text;
    contains(
        &page,
        &[
            "10 to 12 s</th><td class=\"number\">1</td>",
            "half within <strong>11 s</strong>",
            "ran to the end; refused",
            "1000000.0",
        ],
    );
    assert_eq!(page.matches("sync_orders").count(), 2, "{page}");
}
