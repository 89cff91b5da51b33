//! Deadlines as people ask for them and see them.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::amzigo::{Amzigo, Serving};

const SELLER: &str = "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10";
const OTHER_SELLER: &str = "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a11";

fn moment(value: &Value) -> DateTime<Utc> {
    value.as_str().expect("a text").parse().expect("a moment")
}

/// As the scheduler would have written it.
async fn escalate(amzigo: &Amzigo, id: &str) {
    sqlx::query(
        "insert into escalations (job_id, deadline_at, level, at, latest_safe_start, why)
         select id, deadline_at, 'cannot fit', created_at, created_at, 'a run that begins as soon as it can would end late'
         from jobs where id = $1::uuid",
    )
    .bind(id)
    .execute(&amzigo.database.pool)
    .await
    .expect("the row fits");
}

#[tokio::test]
async fn a_deadline_that_can_be_kept_is_told_with_its_latest_safe_start() {
    let amzigo = Amzigo::new().await;
    let arguments = ["enqueue", "sync_orders", "--seller", SELLER, "--deadline", "24h"];
    let said = amzigo.run(&[&arguments[..], &["--json"]].concat()).json();
    assert_eq!((&said["new"], &said["deadline"]["level"]), (&json!(true), &json!("fits")));
    let id = said["id"].as_str().expect("an id");
    let shown = amzigo.run(&["job", id, "--json"]).json();
    let (born, deadline) = (moment(&shown["created_at"]), moment(&shown["deadline_at"]));
    assert_eq!(deadline - born, TimeDelta::hours(24));
    // Nothing has run yet: three runs of ten minutes, and the delays of 2 s and 4 s between them.
    let needed = deadline - moment(&said["deadline"]["latest_safe_start"]);
    assert_eq!(needed, TimeDelta::minutes(30) + TimeDelta::seconds(6));

    let again = amzigo.run(&arguments);
    assert!(again.out.starts_with(&format!("Nothing new: job {id}")), "{}", again.out);
    assert!(again.out.contains("It must begin by"), "{}", again.out);
    let without = amzigo.run(&["enqueue", "sync_orders", "--seller", OTHER_SELLER, "--json"]).json();
    assert_eq!(without.get("deadline"), None);
    let id = without["id"].as_str().expect("an id");
    assert_eq!(amzigo.run(&["job", id, "--json"]).json()["deadline"], Value::Null);
}

#[tokio::test]
async fn a_deadline_that_cannot_be_kept_is_warned_about_at_once() {
    let amzigo = Amzigo::new().await;
    let warned = amzigo.run(&["enqueue", "sync_orders", "--seller", SELLER, "--deadline", "5m"]);
    assert_eq!(warned.code, 0, "{}", warned.err);
    assert!(warned.out.contains("Warning, cannot fit: "), "{}", warned.out);
    assert!(warned.out.contains("none has been measured yet"), "{}", warned.out);

    let past =
        ["enqueue", "sync_orders", "--seller", OTHER_SELLER, "--deadline", "2020-01-01T01:30:00+01:00"];
    let past = amzigo.run(&past);
    assert!(
        past.error(3).contains("the deadline 2020-01-01 00:30:00 UTC has passed already"),
        "{}",
        past.err
    );
    let wrong = amzigo.run(&["enqueue", "sync_orders", "--seller", SELLER, "--deadline", "tomorrow"]);
    assert!(wrong.error(2).contains("90s, 10m, 24h or 2d"), "{}", wrong.err);
}

#[tokio::test]
async fn what_has_a_deadline_is_listed_the_most_urgent_first() {
    let amzigo = Amzigo::new().await;
    assert_eq!(amzigo.run(&["deadlines"]).out, "No unfinished job has a deadline.\n");
    let enqueue = |seller: &str, deadline: &str| {
        let arguments = ["enqueue", "sync_orders", "--seller", seller, "--deadline", deadline, "--json"];
        amzigo.run(&arguments).json()["id"].clone()
    };
    let (roomy, hopeless) = (enqueue(SELLER, "24h"), enqueue(OTHER_SELLER, "5m"));
    let listed = amzigo.run(&["deadlines", "--json"]).json();
    let brief = |n: usize| [&listed["jobs"][n]["id"], &listed["jobs"][n]["level"]];
    assert_eq!(brief(0), [&hopeless, &json!("cannot fit")]);
    assert_eq!(brief(1), [&roomy, &json!("fits")]);
    let left = listed["jobs"][0]["seconds_left"].as_i64().expect("a number");
    assert!((200..=300).contains(&left), "{left}");
    assert_eq!(listed["jobs"][0]["looked_at"], Value::Null);

    let table = amzigo.run(&["deadlines"]).out;
    assert!(table.contains("deadline (UTC)") && table.contains("is one running?"), "{table}");
    assert!(amzigo.run(&["deadlines", "--limit", "1", "--json"]).json()["jobs"].as_array().is_some());
}

#[tokio::test]
async fn a_jobs_page_and_command_tell_what_was_escalated() {
    let amzigo = Amzigo::new().await;
    let enqueued =
        amzigo.run(&["enqueue", "sync_orders", "--seller", SELLER, "--deadline", "5m", "--json"]).json();
    let id = enqueued["id"].as_str().expect("an id");
    escalate(&amzigo, id).await;
    let shown = amzigo.run(&["job", id, "--json"]).json();
    assert_eq!(shown["deadline"]["escalations"][0]["level"], "cannot fit");
    let text = amzigo.run(&["job", id]).out;
    assert!(text.contains("latest safe start") && text.contains("escalated"), "{text}");

    let console = Serving::start(&amzigo).await;
    let page = console.get(&format!("/jobs/{id}")).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("Latest safe start") && page.text.contains("cannot fit"), "{}", page.text);
    let metrics = console.get("/metrics").await.text;
    let left = |queue: &str| {
        let name = format!("deadline_seconds_left{{queue=\"{queue}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name)).expect("the series is there");
        line.parse::<f64>().expect("a number")
    };
    assert!((200.0..300.0).contains(&left("sync")), "{}", left("sync"));
    assert_eq!(left("mail"), f64::INFINITY, "nothing there has a deadline");
}
