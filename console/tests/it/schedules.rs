//! Schedules: seen, run now, paused and resumed, by page and by command the same.

use console::auth::Role;
use serde_json::{Value, json};

use crate::amzigo::{Amzigo, Serving};

fn line<'a>(listed: &'a Value, kind: &str) -> &'a Value {
    let all = listed["schedules"].as_array().expect("a list");
    all.iter().find(|line| line["kind"] == kind).expect("it has a schedule")
}

async fn made(amzigo: &Amzigo) -> Vec<(String, String)> {
    sqlx::query_as("select group_name, cause from jobs where kind = 'sync_orders' order by id")
        .fetch_all(&amzigo.database.pool)
        .await
        .expect("jobs can be read")
}

#[tokio::test]
async fn a_schedule_runs_now_once_for_each_time_it_is_wanted() {
    let amzigo = Amzigo::new().await;
    let seller = amzigo.seller();
    amzigo.forget_first_syncs().await;
    let mut console = Serving::start(&amzigo).await;
    let page = console.get("/schedules").await.text;
    assert!(page.contains("sync_orders") && page.contains("none yet") && !page.contains("Run now"), "{page}");
    let once = "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a77";
    let form = [("once", once), ("reason", "the morning is missing")];
    assert_eq!(console.post("/schedules/sync_orders/run", &form).await.status, 403);
    console.sign_in(&amzigo, &[Role::Operator]).await;
    assert!(console.get("/schedules").await.text.contains("Run now"));
    assert_eq!(console.post("/schedules/sync_orders/run", &form).await.status, 303);
    let first = [(seller.clone(), "console".to_owned())];
    assert_eq!(made(&amzigo).await, first);
    // Its job ends, so that nothing but the word keeps the same form from making another one.
    sqlx::raw_sql("update jobs set state = 'done', finished_at = now()")
        .execute(&amzigo.database.pool)
        .await
        .expect("the job can end");
    assert_eq!(console.post("/schedules/sync_orders/run", &form).await.status, 303);
    assert_eq!(made(&amzigo).await, first, "the same form twice");
    let run = ["schedules", "run", "sync_orders", "--reason", "again", "--as", "ann", "--json"];
    assert_eq!(amzigo.run(&run).json(), json!({ "new": 1, "there": 0 }));
    assert_eq!(amzigo.run(&run).json(), json!({ "new": 0, "there": 1 }), "the kind is unique");
    assert_eq!(console.post("/schedules/nothing/run", &form).await.status, 404);
    amzigo.run(&["schedules", "run", "nothing", "--reason", "x", "--as", "ann"]).error(3);
    let acts: Vec<_> =
        amzigo.audit().await.into_iter().map(|(_, action, target, _)| (action, target)).collect();
    let ran = ("schedules.run".to_owned(), "sync_orders".to_owned());
    assert_eq!(acts.iter().filter(|act| **act == ran).count(), 4, "{acts:?}");
}

#[tokio::test]
async fn a_schedule_is_paused_by_somebody_for_a_reason_and_resumed() {
    let amzigo = Amzigo::new().await;
    let listed = amzigo.run(&["schedules", "list", "--json"]).json();
    assert_eq!(line(&listed, "sync_orders")["next"].as_array().map(Vec::len), Some(5));
    let mut console = Serving::start(&amzigo).await;
    let form = [("reason", "Amazon is ill")];
    assert_eq!(console.post("/schedules/sync_orders/pause", &form).await.status, 403);
    console.sign_in(&amzigo, &[Role::Oncall]).await;
    assert_eq!(console.post("/schedules/sync_orders/pause", &form).await.status, 303);
    let page = console.get("/schedules").await.text;
    assert!(page.contains("Amazon is ill") && page.contains("Resume"), "{page}");
    let paused = amzigo.run(&["schedules", "list", "--json"]).json();
    let now = line(&paused, "sync_orders");
    assert_eq!((&now["next"], &now["paused"]["reason"]), (&json!([]), &json!("Amazon is ill")));

    let pause = ["schedules", "pause", "sync_orders", "--reason", "again", "--as", "ann", "--json"];
    assert_eq!(amzigo.run(&pause).json()["changed"], false, "twice is once");
    let resume = ["schedules", "resume", "sync_orders", "--reason", "well again", "--as", "ann", "--json"];
    assert_eq!(amzigo.run(&resume).json()["changed"], true);
    assert_eq!(amzigo.run(&resume).json()["changed"], false);
    assert_eq!(console.post("/schedules/sync_orders/resume", &form).await.status, 303);
    let acts: Vec<_> = amzigo.audit().await.into_iter().map(|(_, action, ..)| action).collect();
    assert_eq!(acts, ["schedules.pause", "schedules.resume"], "what changes nothing is no act");
}
