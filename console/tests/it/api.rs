//! The HTTP API as programs use it: the real binary, with real keys.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    amzigo::{Amzigo, Serving},
    program::{ALL_SCOPES, Program, SELLER, said},
};

/// Another seller than [`SELLER`].
const OTHER: &str = "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a11";

async fn started(scopes: &[&str]) -> (Amzigo, Serving, Program) {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let program = Program::new(&console, &amzigo.key(scopes, &[]).text);
    (amzigo, console, program)
}

#[tokio::test]
async fn a_job_is_enqueued_looked_up_and_listed() {
    let (amzigo, _console, program) = started(&ALL_SCOPES).await;
    let made = program.sync_orders(SELLER).await;
    assert_eq!((made.status, &made.json["outcome"]), (201, &json!("created")), "{made:?}");
    let place = made.headers["location"].to_str().expect("text").to_owned();
    let job = program.get(&place).await;
    assert_eq!(job.status, 200);
    assert_eq!(job.json["payload"], json!({ "seller": SELLER }));
    assert_eq!(job.json["state"], "ready");
    assert!(job.json["cause"].as_str().is_some_and(|cause| cause.starts_with("api:")), "{job:?}");
    let again = program.sync_orders(SELLER).await;
    assert_eq!((again.status, &again.json["outcome"]), (200, &json!("existing")));
    assert_eq!(again.id(), made.id());
    let other = program.sync_orders(OTHER).await;
    let page = program.get("/v1/jobs?limit=1&kind=sync_orders").await;
    assert_eq!(page.json["jobs"][0]["id"], other.json["id"]);
    assert!(page.json["jobs"][0].get("payload").is_none(), "a list has no payloads");
    let next = page.json["next"].as_str().expect("there is one more");
    let last = program.get(&format!("/v1/jobs?limit=1&cursor={next}")).await;
    assert_eq!((&last.json["jobs"][0]["id"], &last.json["next"]), (&made.json["id"], &Value::Null));
    let of_other = program.get(&format!("/v1/jobs?group={OTHER}&state=ready&queue=sync")).await;
    assert_eq!(of_other.json["jobs"].as_array().map(Vec::len), Some(1));
    let shown = amzigo.run(&["job", &made.id(), "--json"]);
    assert!(shown.json()["cause"].as_str().is_some_and(|cause| cause.starts_with("api:")), "{}", shown.out);
}

#[tokio::test]
async fn what_is_asked_for_of_a_job_is_what_it_has() {
    let (_amzigo, _console, program) = started(&ALL_SCOPES).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let body = json!({
        "kind": "plan_review_requests", "payload": { "seller": SELLER }, "due_at": "2026-11-20T00:00:00Z",
        "deadline_at": "2027-11-20T00:00:00Z", "expires_at": "2027-11-19T00:00:00Z",
    });
    let request = program.request(reqwest::Method::POST, "/v1/jobs").header("traceparent", trace).json(&body);
    let job = program.get(&format!("/v1/jobs/{}", said(request).await.id())).await.json;
    assert_eq!(job["state"], "ready", "the past is now");
    assert_eq!(job["deadline_at"], "2027-11-20T00:00:00Z");
    assert_eq!(job["expires_at"], "2027-11-19T00:00:00Z");
    assert_eq!(job["traceparent"], trace);
    let late = json!({ "kind": "sync_inventory", "payload": { "seller": SELLER }, "delay_seconds": 3600 });
    let late = program.post("/v1/jobs", &late).await;
    let job = program.get(&format!("/v1/jobs/{}", late.id())).await.json;
    assert_eq!(job["state"], "delayed");
}

#[tokio::test]
async fn the_same_request_at_once_makes_one_job_and_gets_one_answer() {
    let (amzigo, _console, program) = started(&ALL_SCOPES).await;
    // A kind that is not unique: only the key keeps the requests together.
    let body = json!({ "kind": "sync_orders", "payload": { "seller": SELLER }, "delay_seconds": 60 });
    let ask = |key: &'static str, body: Value| {
        let request = program.request(reqwest::Method::POST, "/v1/jobs");
        said(request.header("idempotency-key", key).json(&body))
    };
    let answers = futures::future::join_all((0..16).map(|_| ask("order-7", body.clone()))).await;
    let (ids, statuses): (BTreeSet<_>, BTreeSet<_>) =
        answers.iter().map(|answer| (answer.id(), answer.status)).unzip();
    assert_eq!((ids.len(), statuses), (1, BTreeSet::from([201])), "{answers:?}");
    let replayed = answers.iter().filter(|answer| answer.headers.contains_key("idempotency-replayed"));
    assert_eq!(replayed.count(), 15);
    assert!(answers.iter().all(|answer| answer.json == answers[0].json));
    let other = json!({ "kind": "sync_orders", "payload": { "seller": OTHER } });
    let reused = ask("order-7", other).await;
    assert_eq!((reused.status, reused.sort()), (422, "idempotency-key-reused"));
    // Another owner may use the same words.
    let others = amzigo.run(&[
        "keys",
        "create",
        "other.program",
        "--scope",
        "enqueue",
        "--json",
        "--reason",
        "a test",
        "--as",
        "tests",
    ]);
    let others = program.with_key(others.json()["key"].as_str().expect("a key"));
    let theirs = others.request(reqwest::Method::POST, "/v1/jobs").header("idempotency-key", "order-7");
    let theirs = said(theirs.json(&json!({ "kind": "sync_orders", "payload": { "seller": OTHER } }))).await;
    assert_eq!(theirs.status, 201);
}
