//! The overview with what people have decided, what is promised, and what belongs together.

use chrono::{DateTime, Utc};
use queue::{
    batch,
    outbox::{Cause, NewJob},
};
use serde_json::json;

use crate::{
    amzigo::Serving,
    deployment::{Deployment, OTHER_SELLER, QUEUE, SELLER},
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
async fn what_is_paused_limited_and_parked_is_visible_and_hostile_names_do_no_harm() {
    let deployment = Deployment::new().await;
    let console = serving(&deployment).await;
    let calm = console.get("/").await.text;
    assert!(!calm.contains("Paused:") && !calm.contains(" by tests"), "{calm}");

    deployment.ready(SELLER).await;
    deployment.does(&["pause", "sync", "--group", SELLER, "--reason", "they asked", "--as", "Ann"]);
    deployment.does(&["pause", "mail", "--group", "<script>alert(1)</script>", "--reason", "<img src=x>"]);
    deployment.does(&["limit", "sync", "--kind", "sync_orders", "5", "--reason", "spare the database"]);
    assert_eq!(deployment.takes().await, []);
    let text = console.get("/").await.text;
    contains(
        &text,
        &[
            &format!("Paused: group {SELLER} on sync."),
            " by Ann: they asked",
            "Paused: group &lt;script&gt;alert(1)&lt;/script&gt; on mail.",
            "kind sync_orders on sync: at most 5 at once. ",
            "by tests: spare the database",
            "parked",
        ],
    );
    assert!(!text.contains("<script>alert") && !text.contains("<img"), "{text}");
    let parked = deployment.engine.depth(QUEUE).await.expect("Redis is there").parked;
    assert_eq!(parked, 1);
}

#[tokio::test]
async fn of_very_many_pauses_some_are_named_and_the_rest_is_counted() {
    let deployment = Deployment::new().await;
    sqlx::query(
        "insert into controls (queue, scope, subject, paused, changed_at)
         select 'sync', 'group', 'group ' || n, true, now() from generate_series(101, 123) as n",
    )
    .execute(&deployment.amzigo.database.pool)
    .await
    .expect("the rows fit");
    let text = serving(&deployment).await.get("/").await.text;
    contains(
        &text,
        &["Paused: group group 101 on sync.", "Paused: group group 120 on sync.", "… and 3 more: "],
    );
    assert!(!text.contains("group 121"), "{text}");
}

#[tokio::test]
async fn deadlines_in_danger_are_counted_once_each_by_their_worst_level() {
    let deployment = Deployment::new().await;
    let ids = [SELLER, OTHER_SELLER].map(|seller| deployment.enqueue(seller, &["--deadline", "5m"]));
    for (id, levels) in ids.iter().zip([&["half", "cannot fit"][..], &["half"]]) {
        for level in levels {
            sqlx::query(
                "insert into escalations (job_id, deadline_at, level, at, latest_safe_start, why)
                 select id, deadline_at, $2, created_at, created_at, 'for the test' from jobs where id = $1",
            )
            .bind(id.0)
            .bind(level)
            .execute(&deployment.amzigo.database.pool)
            .await
            .expect("the row fits");
        }
    }
    let text = serving(&deployment).await.get("/").await.text;
    contains(&text, &["1 job can no longer meet the deadline.", "Deadlines: 1 cannot fit, 1 half."]);
}

#[tokio::test]
async fn an_unfinished_batch_shows_how_far_it_is() {
    let deployment = Deployment::new().await;
    let now: DateTime<Utc> = "2026-11-23T10:00:00Z".parse().expect("a moment");
    let mut transaction = deployment.amzigo.database.pool.begin().await.expect("a transaction");
    let id = batch::open(&mut transaction, now).await.expect("a batch");
    let jobs: Vec<_> = [SELLER, OTHER_SELLER]
        .map(|seller| NewJob {
            batch: Some(id),
            ..NewJob::raw("sync_orders", QUEUE, seller, json!({ "seller": seller }), Cause::Cli)
        })
        .into();
    queue::outbox::enqueue(&mut transaction, &jobs, now).await.expect("they are enqueued");
    transaction.commit().await.expect("it commits");
    deployment.does(&["jobs", "cancel", &jobs[0].id.to_string(), "--reason", "enqueued by mistake"]);
    let console = serving(&deployment).await;
    contains(
        &console.get("/").await.text,
        &[&id.to_string(), "jobs may still join", "<progress max=\"2\" value=\"1\">", "1 of 2"],
    );
}

#[tokio::test]
async fn a_jobs_page_says_why_it_waits() {
    let deployment = Deployment::new().await;
    let id = deployment.ready(SELLER).await;
    deployment.does(&["pause", "sync", "--reason", "Amazon is ill", "--as", "Ann"]);
    let console = serving(&deployment).await;
    let page = console.get(&format!("/jobs/{id}")).await.text;
    contains(
        &page,
        &[
            "the queue sync is paused since ",
            "by Ann (“Amazon is ill”)",
            "<code>amzigo resume sync --reason '…'</code>",
        ],
    );
    deployment.does(&["jobs", "cancel", &id.to_string(), "--reason", "not needed"]);
    let page = console.get(&format!("/jobs/{id}")).await.text;
    contains(&page, &["Cancelling it was asked for", " by tests: not needed"]);
    assert!(!page.contains("What it waits for"), "{page}");
}
