//! The HTTP API as programs use it: the real binary, with real keys.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    amzigo::{Amzigo, Serving},
    program::{ALL_SCOPES, Program, SELLER, said},
};

/// Another seller than [`SELLER`].
const OTHER: &str = "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a11";

pub(crate) async fn started(scopes: &[&str]) -> (Amzigo, Serving, Program) {
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
    let request = program.request(Method::POST, "/v1/jobs").header("traceparent", trace).json(&body);
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
    let body = json!({
        "kind": "send_review_request", "payload": { "seller": SELLER, "order": "026-0000000-0000001" },
        "delay_seconds": 60,
    });
    let ask = |key: &'static str, body: Value| {
        let request = program.request(Method::POST, "/v1/jobs");
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
    let theirs = others.request(Method::POST, "/v1/jobs").header("idempotency-key", "order-7");
    let theirs = said(theirs.json(&json!({ "kind": "sync_orders", "payload": { "seller": OTHER } }))).await;
    assert_eq!(theirs.status, 201);
}

#[tokio::test]
async fn each_of_many_jobs_is_answered_for_itself() {
    let (_amzigo, _console, program) = started(&ALL_SCOPES).await;
    let body = json!({ "jobs": [
        { "kind": "sync_orders", "payload": { "seller": SELLER } },
        { "kind": "sync_orders", "payload": { "seller": SELLER } },
        { "kind": "sync_orders", "payload": {} },
        { "kind": "sync_order", "payload": { "seller": SELLER } },
        "no job",
        { "kind": "sync_orders", "payload": { "seller": OTHER }, "batch": SELLER },
    ] });
    let answer = program.post("/v1/jobs/bulk", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!((&answer.json["created"], &answer.json["existing"]), (&json!(1), &json!(1)));
    let items = answer.json["items"].as_array().expect("a list");
    let outcomes: Vec<_> = items.iter().map(|item| item["outcome"].as_str().expect("text")).collect();
    assert_eq!(outcomes, ["created", "existing", "refused", "refused", "refused", "refused"]);
    assert_eq!(items[0]["id"], items[1]["id"]);
    let pointer = |n: usize| &items[n]["problem"]["errors"][0]["pointer"];
    assert_eq!((pointer(2), pointer(3)), (&json!("/jobs/2/payload/seller"), &json!("/jobs/3/kind")));
    assert_eq!(pointer(4), "/jobs/4");
    assert_eq!(items[5]["problem"]["status"], 409, "there is no such batch");
    for count in [0, 1_001] {
        let jobs = vec![json!({ "kind": "sync_orders", "payload": { "seller": OTHER } }); count];
        let refused = program.post("/v1/jobs/bulk", &json!({ "jobs": jobs })).await;
        assert_eq!((refused.status, refused.pointers()), (422, vec!["/jobs"]));
    }
}

#[tokio::test]
async fn many_jobs_are_sent_again_without_harm() {
    let (amzigo, _console, program) = started(&ALL_SCOPES).await;
    let job = |order: usize| {
        json!({
            "kind": "send_review_request", "payload": { "seller": SELLER, "order": format!("026-0000000-{order:07}") },
        })
    };
    let body = json!({ "jobs": (0..100).map(job).collect::<Vec<_>>() });
    let ask = || {
        said(program.request(Method::POST, "/v1/jobs/bulk").header("idempotency-key", "import-3").json(&body))
    };
    let (one, other) = tokio::join!(ask(), ask());
    assert_eq!(one.json, other.json);
    assert_eq!(one.json["created"], 100);
    let jobs: i64 = sqlx::query_scalar("select count(*) from jobs")
        .fetch_one(&amzigo.database.pool)
        .await
        .expect("Postgres answers");
    assert_eq!(jobs, 100);
}

#[tokio::test]
async fn a_job_is_cancelled_with_a_reason_and_once() {
    let (amzigo, _console, program) = started(&ALL_SCOPES).await;
    let id = program.sync_orders(SELLER).await.id();
    let cancel = format!("/v1/jobs/{id}/cancel");
    assert_eq!(program.post(&cancel, &json!({ "reason": " " })).await.pointers(), ["/reason"]);
    let done = program.post(&cancel, &json!({ "reason": "enqueued by mistake" })).await;
    assert_eq!((done.status, &done.json["outcome"]), (200, &json!("cancelled")));
    assert_eq!(program.post(&cancel, &json!({ "reason": "again" })).await.sort(), "conflict");
    let unknown = format!("/v1/jobs/{OTHER}/cancel");
    assert_eq!(program.post(&unknown, &json!({ "reason": "x" })).await.status, 404);
    let acts = amzigo.audit().await;
    let act = acts.iter().find(|act| act.1 == "jobs.cancel").expect("it is in the audit log");
    assert_eq!(
        (act.0.as_str(), act.2.as_str(), act.3.as_str()),
        ("api:tests.program", id.as_str(), "enqueued by mistake")
    );
}

#[tokio::test]
async fn a_batch_is_opened_filled_sealed_and_looked_up() {
    let (_amzigo, _console, program) = started(&ALL_SCOPES).await;
    let opened = said(program.request(Method::POST, "/v1/batches")).await;
    assert_eq!(opened.status, 201);
    let batch = opened.headers["location"].to_str().expect("text").to_owned();
    let job = |seller: &str| json!({ "kind": "sync_orders", "payload": { "seller": seller } });
    let added = program.post(&format!("{batch}/jobs"), &json!({ "jobs": [job(SELLER), job(OTHER)] })).await;
    assert_eq!(added.json["created"], 2, "{added:?}");
    let of_batch = program.get(&format!("/v1/jobs?batch={}", opened.id())).await;
    assert_eq!(of_batch.json["jobs"].as_array().map(Vec::len), Some(2));
    let unwanted = json!({ "follow_up": { "kind": "sync_orders", "payload": { "seller": SELLER }, "delay_seconds": 1 } });
    let refused = program.post(&format!("{batch}/seal"), &unwanted).await;
    assert_eq!(refused.pointers(), ["/follow_up"]);
    let misfit = json!({ "follow_up": { "kind": "plan_review_requests", "payload": {} } });
    let refused = program.post(&format!("{batch}/seal"), &misfit).await;
    assert_eq!(refused.pointers(), ["/follow_up/payload/seller"]);
    let follow_up =
        json!({ "follow_up": { "kind": "plan_review_requests", "payload": { "seller": SELLER } } });
    let sealed = program.post(&format!("{batch}/seal"), &follow_up).await;
    assert_eq!((sealed.status, &sealed.json["unfinished"]), (200, &json!(2)), "{sealed:?}");
    assert_eq!(program.post(&format!("{batch}/seal"), &follow_up).await.status, 409);
    assert_eq!(program.post(&format!("{batch}/jobs"), &json!({ "jobs": [job(SELLER)] })).await.status, 409);
    let late = json!({ "kind": "sync_inventory", "payload": { "seller": SELLER }, "batch": opened.id() });
    assert_eq!(program.post("/v1/jobs", &late).await.status, 409);
    assert_eq!(program.get(&batch).await.json["total"], 2);
    let listed = program.get("/v1/batches").await;
    assert_eq!(listed.json["batches"][0]["id"], opened.json["id"]);
    assert_eq!(program.get(&format!("/v1/batches/{OTHER}")).await.status, 404);
}

#[tokio::test]
async fn kinds_and_schedules_are_those_of_the_catalog() {
    let (_amzigo, _console, program) = started(&["read", "schedules"]).await;
    let kinds = program.get("/v1/kinds").await.json;
    let names: Vec<_> = kinds["kinds"].as_array().expect("a list").iter().map(|kind| &kind["name"]).collect();
    let known: Vec<_> = jobs::catalog::CATALOG.iter().map(|kind| json!(kind.name)).collect();
    assert!(names.iter().eq(&known.iter().collect::<Vec<_>>()), "{names:?}");
    let schedules = program.get("/v1/schedules").await.json;
    let orders =
        schedules["schedules"].as_array().expect("a list").iter().find(|one| one["kind"] == "sync_orders");
    let ticks = &orders.expect("it is scheduled")["next_ticks"];
    assert_eq!(ticks.as_array().map(Vec::len), Some(5), "{ticks}");
}

#[tokio::test]
async fn the_document_names_every_operation_and_the_page_shows_it_offline() {
    let (_amzigo, _console, program) = started(&["read"]).await;
    let document = program.without_key().get("/v1/openapi.json").await.json;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    for route in console::api::declared() {
        let method = route.method.as_str().to_ascii_lowercase();
        let operation = &document["paths"][&route.path][&method];
        assert!(operation["responses"].is_object(), "{method} {} is not described", route.path);
        let needs_a_key = route.rule != console::api::Rule::Open;
        assert_eq!(operation["security"].is_array(), needs_a_key, "{method} {}", route.path);
    }
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        if schema["type"] == "object" {
            assert_eq!(schema["additionalProperties"], false, "{name}");
        }
    }
    let page = program.without_key().request(Method::GET, "/docs/").send().await.expect("it answers");
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    let text = page.text().await.expect("text");
    assert!(text.contains("swagger-ui") && !text.contains("http://") && !text.contains("https://"), "{text}");
}
