//! A seller's page and what can be done there, and the page of deadlines.

use console::auth::Role;

use crate::amzigo::{Amzigo, Serving};

async fn kinds(amzigo: &Amzigo) -> Vec<String> {
    sqlx::query_scalar("select kind from jobs where finished_at is null order by kind")
        .fetch_all(&amzigo.database.pool)
        .await
        .expect("jobs can be read")
}

#[tokio::test]
async fn a_seller_is_synced_paused_and_disconnected() {
    let amzigo = Amzigo::new().await;
    let seller = amzigo.seller();
    amzigo.forget_first_syncs().await;
    let mut console = Serving::start(&amzigo).await;
    let at = format!("/sellers/{seller}");
    assert!(console.get("/sellers").await.text.contains(&at));
    let page = console.get(&at).await.text;
    assert!(page.contains("getOrders") || page.contains("searchOrders"), "its budgets: {page}");
    assert!(page.contains("Nothing waits for it.") && !page.contains("Sync now"), "{page}");
    let (sync, reason) = (format!("{at}/sync"), [("reason", "ticket 813")]);
    for act in ["sync", "pause", "resume", "disconnect"] {
        assert_eq!(console.post(&format!("{at}/{act}"), &reason).await.status, 403, "{act}");
    }
    console.sign_in(&amzigo, &[Role::Operator]).await;
    assert_eq!(console.post(&sync, &reason).await.status, 303);
    let once = kinds(&amzigo).await;
    assert!(once.contains(&"sync_orders".to_owned()), "{once:?}");
    assert_eq!(console.post(&sync, &reason).await.status, 303);
    assert_eq!(amzigo.run(&["sellers", "sync", &seller, "--reason", "ticket 813", "--as", "ann"]).code, 0);
    assert_eq!(kinds(&amzigo).await, once, "no second job of any kind");
    let waits = console.get(&at).await.text;
    assert!(waits.contains("By its budgets done in about"), "{waits}");

    assert_eq!(console.post(&format!("{at}/pause"), &reason).await.status, 303);
    assert!(console.get(&at).await.text.contains("ticket 813"), "who paused it and why");
    let controls = amzigo.run(&["controls", "--json"]);
    assert!(controls.out.contains(&seller), "{}", controls.out);
    assert_eq!(console.post(&format!("{at}/pause"), &reason).await.status, 303, "twice is once");
    assert_eq!(console.post(&format!("{at}/resume"), &reason).await.status, 303);
    let done = console.post(&format!("{at}/disconnect"), &reason).await;
    assert_eq!(done.status, 303, "{}", done.text);
    assert!(kinds(&amzigo).await.contains(&"disconnect_seller".to_owned()));
    let acts: Vec<_> = amzigo.audit().await.into_iter().map(|(_, action, ..)| action).collect();
    let expected = [
        "sellers.connect",
        "sellers.sync",
        "sellers.sync",
        "sellers.sync",
        "controls.pause",
        "controls.resume",
        "sellers.disconnect",
    ];
    assert_eq!(acts, expected);
    assert_eq!(console.get("/sellers/0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10").await.status, 404);
    assert_eq!(console.get("/sellers/seven").await.status, 400);
    assert_eq!(console.get("/amazon").await.status, 200);
}

#[tokio::test]
async fn deadlines_are_told_in_words_or_that_nothing_is_due() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    assert!(console.get("/deadlines").await.text.contains("Nothing is due"));
    let seller = "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10";
    let due = amzigo.run(&["enqueue", "sync_orders", "--seller", seller, "--deadline", "24h", "--json"]);
    let id = due.json()["id"].as_str().expect("an id").to_owned();
    sqlx::query("update jobs set deadline_at = now() - interval '2 hours' where id = $1::text::uuid")
        .bind(&id)
        .execute(&amzigo.database.pool)
        .await
        .expect("the row fits");
    let page = console.get("/deadlines").await.text;
    for expected in
        [id.as_str(), "2 h 0 min late", "The deadline has passed.", "No scheduler has looked at it yet."]
    {
        assert!(page.contains(expected), "{expected}: {page}");
    }
}
