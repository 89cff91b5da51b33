//! Setting up, enqueueing and looking at jobs.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::amzigo::{Amzigo, answer, bare};

#[tokio::test]
async fn a_job_is_enqueued_listed_and_shown() {
    let amzigo = Amzigo::new().await;
    let seller = amzigo.seller();
    amzigo.forget_first_syncs().await;
    let first = amzigo.run(&["enqueue", "sync_orders", "--seller", &seller, "--json"]).json();
    assert_eq!(first["new"], true);
    let id = first["id"].as_str().expect("an id");

    let again = amzigo.run(&["enqueue", "sync_orders", "--seller", &seller, "--json"]).json();
    assert_eq!(again, json!({ "id": id, "new": false, "kind": "sync_orders" }), "the kind is unique");

    let shown = amzigo.run(&["job", id, "--json"]).json();
    assert_eq!(shown["payload"], json!({ "seller": seller }));
    assert_eq!((&shown["cause"], &shown["in_outbox"]), (&json!("cli"), &json!(true)));

    let listed = amzigo.run(&["jobs", "--seller", &seller, "--state", "ready", "--json"]).json();
    assert_eq!(listed["jobs"][0]["id"], id);
    assert_eq!(listed["next"], json!(null));
    let none = amzigo.run(&["jobs", "--state", "dead", "--json"]).json();
    assert_eq!(none["jobs"], json!([]));
    let table = amzigo.run(&["jobs"]);
    assert!(
        table.out.contains(id) && !table.out.contains('\u{1b}'),
        "no colours off a terminal: {}",
        table.out
    );
}

#[tokio::test]
async fn an_idempotency_key_makes_one_job_ever_and_a_delay_waits() {
    let amzigo = Amzigo::new().await;
    let payload = r#"{"seller": "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10"}"#;
    let enqueue = |payload: &str| {
        let arguments = ["enqueue", "sync_orders", "--payload", payload, "--idempotency-key", "ticket-812"];
        amzigo.run(&[&arguments[..], &["--delay", "10m", "--json"]].concat()).json()
    };
    let first = enqueue(payload);
    let other = enqueue(r#"{"seller": "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a11"}"#);
    assert_eq!((&first["new"], &other["new"]), (&json!(true), &json!(false)));
    assert_eq!(first["id"], other["id"]);
    let job = amzigo.run(&["jobs", "--json"]).json();
    assert_eq!(job["jobs"][0]["state"], "delayed");
}

#[tokio::test]
async fn a_trace_and_an_expiry_reach_the_ledger_and_a_wrong_trace_is_refused() {
    let amzigo = Amzigo::new().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let seller = "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10";
    let enqueue = ["enqueue", "sync_orders", "--seller", seller, "--expires-after", "10m", "--json"];
    let wrong = amzigo.run(&[&enqueue[..], &["--traceparent", &trace[..54]]].concat());
    assert!(wrong.error(2).contains("not a traceparent: it is too short"), "{}", wrong.err);

    let job = amzigo.run(&[&enqueue[..], &["--traceparent", trace]].concat()).json();
    let shown = amzigo.run(&["job", job["id"].as_str().expect("an id"), "--json"]).json();
    assert_eq!((&shown["traceparent"], &shown["unique"]), (&json!(trace), &json!("until done")));
    let moment = |name: &str| -> chrono::DateTime<chrono::Utc> {
        shown[name].as_str().expect("a moment").parse().expect("a moment")
    };
    assert_eq!(moment("expires_at") - moment("created_at"), chrono::TimeDelta::minutes(10));
}

#[tokio::test]
async fn a_batch_says_how_far_it_is() {
    let amzigo = Amzigo::new().await;
    let mut connection = amzigo.database.pool.acquire().await.expect("Postgres is there");
    let now = "2026-11-23T10:00:00Z".parse().expect("a moment");
    let id = queue::batch::open(&mut connection, now).await.expect("it opens");
    let dead = amzigo.dead_letter("sync_orders", "boom", None).await;
    sqlx::query("update jobs set batch_id = $2 where id = $1")
        .bind(dead.0)
        .bind(id.0)
        .execute(&amzigo.database.pool)
        .await
        .expect("the row fits");
    let shown = amzigo.run(&["batch", &id.to_string(), "--json"]).json();
    assert_eq!((&shown["total"], &shown["dead"], &shown["unfinished"]), (&json!(1), &json!(1), &json!(0)));
    let table = amzigo.run(&["batch", &id.to_string()]);
    assert!(table.out.contains("more jobs may join"), "{}", table.out);
    let unknown = amzigo.run(&["batch", "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10"]);
    assert!(unknown.error(3).contains("there is no batch"), "{}", unknown.err);
}

#[tokio::test]
async fn lists_go_on_where_they_ended() {
    let amzigo = Amzigo::new().await;
    let mut enqueued: Vec<String> = (10..13)
        .map(|n| {
            let seller = format!("0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a{n}");
            let job = amzigo.run(&["enqueue", "sync_orders", "--seller", &seller, "--json"]).json();
            job["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    enqueued.reverse();
    let first = amzigo.run(&["jobs", "--limit", "2", "--json"]).json();
    let next = first["next"].as_str().expect("there is one more");
    let second = amzigo.run(&["jobs", "--limit", "2", "--before", next, "--json"]).json();
    let ids = [&first["jobs"][0], &first["jobs"][1], &second["jobs"][0]].map(|job| job["id"].clone());
    assert_eq!(json!(ids), json!(enqueued));
    assert_eq!((second["jobs"].as_array().map(Vec::len), &second["next"]), (Some(1), &json!(null)));
}

#[tokio::test]
async fn what_cannot_be_a_job_is_refused_with_its_own_error_and_code() {
    let amzigo = Amzigo::new().await;
    let seller = r#"{"seller": "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10"}"#;

    let error = amzigo.run(&["enqueue", "sync_order", "--payload", seller]);
    assert!(error.error(3).contains("did you mean `sync_orders`?"), "{}", error.err);

    let error = amzigo.run(&["enqueue", "sync_orders", "--payload", "{"]);
    assert!(error.error(2).contains("the payload is not JSON"), "{}", error.err);

    let error = amzigo.run(&["enqueue", "sync_orders", "--payload", r#"{"seller": "Ann Canary"}"#]);
    assert!(error.error(3).contains("does not fit `sync_orders`"), "{}", error.err);
    assert!(!error.err.contains("Ann"), "a payload is never shown: {}", error.err);

    let large = format!("{{\"seller\": \"{}\"}}", "x".repeat(70_000));
    let error = amzigo.run(&["enqueue", "sync_orders", "--payload", &large]);
    assert!(error.error(3).contains("has 70013 bytes, more than the 65536 allowed"), "{}", error.err);

    let key = "k".repeat(201);
    let error = amzigo.run(&["enqueue", "sync_orders", "--payload", seller, "--idempotency-key", &key]);
    assert!(error.error(3).contains("an idempotency key has 1 to 200 bytes"), "{}", error.err);

    let error = amzigo.run(&["enqueue", "sync_orders"]);
    assert!(error.error(3).contains("`seller` is missing; it must be an id as 0193"), "{}", error.err);

    let error = amzigo.run(&["enqueue", "sync_orders", "--payload", seller, "--delay", "soon"]);
    assert!(error.error(2).contains("90s, 10m, 2h or 1d"), "{}", error.err);

    let error = amzigo.run(&["enqueue", "sync_orders", "--payload", seller, "--seller", "x"]);
    assert_eq!(error.error(2).matches("error:").count(), 1, "{}", error.err);

    let none = amzigo.run(&["jobs", "--json"]).json();
    assert_eq!(none["jobs"], json!([]), "nothing was enqueued");
}

#[tokio::test]
async fn a_payload_comes_from_a_file_or_standard_input_but_not_any_bytes() {
    let amzigo = Amzigo::new().await;
    let from_stdin = ["enqueue", "sync_orders", "--payload-file", "-", "--json"];
    let good = amzigo.run_with_input(&from_stdin, br#"{"seller": "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10"}"#);
    assert_eq!(good.json()["new"], true);

    let broken = amzigo.run_with_input(&from_stdin, b"{\"seller\": \"\xff\"}");
    assert!(broken.error(2).contains("is not UTF-8: the byte at position 12"), "{}", broken.err);

    let huge = amzigo.run_with_input(&from_stdin, &vec![b' '; 700_000]);
    assert!(huge.error(3).contains("at most 65536"), "{}", huge.err);

    let missing = amzigo.run(&["enqueue", "sync_orders", "--payload-file", "/nonexistent/payload.json"]);
    assert!(missing.error(2).contains("could not read the payload"), "{}", missing.err);
}

#[tokio::test]
async fn a_seller_connects_again_under_the_same_id_and_the_token_shows_nowhere() {
    let amzigo = Amzigo::new().await;
    let first = amzigo.seller();
    assert_eq!(amzigo.seller(), first);
    let listed = amzigo.run(&["sellers", "list", "--json"]);
    assert_eq!(listed.json()["sellers"][0]["id"], first);
    assert!(!listed.out.contains("planted-token"), "{}", listed.out);
    let act = ("tests", "sellers.connect", first.as_str(), "the seller authorised us");
    let acts = amzigo.audit().await;
    let acts: Vec<_> = acts.iter().map(|(who, what, whom, why)| (&**who, &**what, &**whom, &**why)).collect();
    assert_eq!(acts, [act, act]);
    let jobs = amzigo.run(&["jobs", "--seller", &first, "--json"]).json();
    let kinds: Vec<_> = jobs["jobs"].as_array().into_iter().flatten().map(|job| &job["kind"]).collect();
    assert_eq!(kinds.len(), 7, "each of the first syncs is enqueued once: {kinds:?}");
    assert!(kinds.contains(&&json!("backfill_orders")), "{kinds:?}");

    let connect = ["sellers", "connect", "--selling-partner-id", "A2TEST", "--region", "eu"];
    let connect = [&connect[..], &["--marketplace", "A1", "--refresh-token-stdin", "--as", "tests"]].concat();
    let error = amzigo.run_with_keys(&connect, b"two words");
    assert!(error.error(2).contains("the refresh token alone"), "{}", error.err);
    let error = amzigo.run_with_input(&connect, b"Atzr|token");
    assert!(error.error(2).contains("AMZIGO_KEYS is not set"), "{}", error.err);
}

#[tokio::test]
async fn a_seller_is_disconnected_once_by_a_job_and_with_a_reason() {
    let amzigo = Amzigo::new().await;
    let seller = amzigo.seller();
    let listed = || amzigo.run(&["sellers", "list", "--json"]).json()["sellers"][0].clone();
    let connected = listed();
    assert_eq!((&connected["state"], &connected["data_deleted_by"]), (&json!("active"), &json!(null)));
    let days = |from: &Value, until: &Value| {
        let moment =
            |value: &Value| value.as_str().expect("a moment").parse::<DateTime<Utc>>().expect("a moment");
        (moment(until) - moment(from)).num_days()
    };
    assert_eq!(days(&connected["connected_at"], &connected["authorised_until"]), 365);

    let disconnect = ["sellers", "disconnect", &seller, "--json", "--as", "tests"];
    assert_eq!(amzigo.run(&disconnect).code, 2, "a reason is wanted");
    let disconnect = [&disconnect[..], &["--reason", "ticket 812"]].concat();
    let first = amzigo.run(&disconnect).json();
    assert_eq!(first["new"], true);
    let again = amzigo.run(&disconnect).json();
    assert_eq!((&again["new"], &again["job"]), (&json!(false), &first["job"]));
    let acts = amzigo.audit().await;
    let act = ("tests".to_owned(), "sellers.disconnect".to_owned(), seller.clone(), "ticket 812".to_owned());
    assert!(acts.contains(&act), "{acts:?}");

    // As its job leaves it.
    sqlx::query(
        "update sellers set state = 'disconnected', authorisation_ended_at = now(), disconnected_at = now()",
    )
    .execute(&amzigo.database.pool)
    .await
    .expect("the seller is there");
    let gone = listed();
    assert_eq!(days(&gone["disconnected_at"], &gone["data_deleted_by"]), 30);
    assert!(amzigo.run(&disconnect).error(3).contains("has been disconnected since"));
    let unknown =
        ["sellers", "disconnect", "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10", "--as", "tests", "--reason", "x"];
    assert!(amzigo.run(&unknown).error(3).contains("there is no seller"));
}

#[test]
fn a_command_names_the_setting_that_it_misses() {
    let no_database = answer(bare(&["jobs"]).output().expect("the binary starts"));
    assert!(no_database.error(2).contains("DATABASE_URL is not set"), "{}", no_database.err);
}

#[test]
fn what_needs_no_server_works_without_one() {
    let key = answer(bare(&["new-key", "--id", "2026-11"]).output().expect("the binary starts"));
    assert!(key.out.starts_with("2026-11:") && key.code == 0, "{}", key.err);
    let kinds = answer(bare(&["kinds", "--json"]).output().expect("the binary starts")).json();
    let schema = &kinds["kinds"][0]["payload_schema"];
    assert_eq!(schema["properties"]["seller"]["format"], "uuid", "{schema}");
    let names: Vec<_> = kinds["kinds"].as_array().expect("a list").iter().map(|kind| &kind["kind"]).collect();
    assert!(names.contains(&&json!("sync_orders")), "{names:?}");
    let wrong = answer(bare(&["new-key", "--id", "a,b"]).output().expect("the binary starts"));
    assert!(wrong.error(2).contains("letters, digits"), "{}", wrong.err);
}

#[tokio::test]
async fn migrating_twice_is_safe_and_an_old_schema_is_named() {
    let amzigo = Amzigo::new().await;
    assert_eq!(amzigo.run(&["migrate", "--json"]).json()["applied"], 0);
    sqlx::query("delete from _sqlx_migrations where version = 20261123100200")
        .execute(&amzigo.database.pool)
        .await
        .expect("the list can be changed");
    let behind = amzigo.run(&["jobs"]);
    assert!(behind.error(3).contains("run `amzigo migrate`"), "{}", behind.err);
}

#[tokio::test]
async fn an_id_that_is_none_and_a_job_that_is_not_there_differ() {
    let amzigo = Amzigo::new().await;
    let error = amzigo.run(&["job", "7"]);
    assert!(error.error(2).contains("`7` is not an id"), "{}", error.err);
    let error = amzigo.run(&["job", "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10"]);
    assert!(error.error(3).contains("there is no job 0193cf5e"), "{}", error.err);
}
