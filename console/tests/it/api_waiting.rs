//! Waiting for a job's end: by a long poll, and as server-sent events.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api::started,
    program::{ALL_SCOPES, SELLER},
};

#[tokio::test]
async fn a_wait_ends_with_the_job_or_with_its_time() {
    let (_amzigo, _console, program) = started(&ALL_SCOPES).await;
    let id = program.sync_orders(SELLER).await.id();
    let begun = Instant::now();
    let waited = program.get(&format!("/v1/jobs/{id}/wait?timeout=1")).await;
    assert_eq!((waited.status, &waited.json["finished_at"]), (200, &Value::Null));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let path = format!("/v1/jobs/{id}/wait?timeout=60");
    let waiting = tokio::spawn({
        let (program, path) = (program.clone(), path.clone());
        async move { program.get(&path).await }
    });
    let cancel = format!("/v1/jobs/{id}/cancel");
    assert_eq!(program.post(&cancel, &json!({ "reason": "a test" })).await.status, 200);
    let begun = Instant::now();
    let ended = waiting.await.expect("it does not panic");
    assert_eq!((ended.status, &ended.json["state"]), (200, &json!("cancelled")));
    assert_eq!(program.get(&path).await.json["state"], "cancelled", "one that has ended is answered at once");
    assert!(begun.elapsed() < Duration::from_secs(20), "far before the time is over");
    let unknown = "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a99";
    assert_eq!(program.get(&format!("/v1/jobs/{unknown}/wait?timeout=60")).await.status, 404);
    for wrong in ["61", "-1", "soon", ""] {
        let refused = program.get(&format!("/v1/jobs/{id}/wait?timeout={wrong}")).await;
        assert_eq!((refused.status, refused.pointers()), (400, vec!["timeout"]), "{wrong}");
    }
}

#[tokio::test]
async fn events_tell_every_change_until_the_end() {
    let (amzigo, _console, program) = started(&ALL_SCOPES).await;
    let id = program.sync_orders(SELLER).await.id();
    let mut answer =
        program.request(Method::GET, &format!("/v1/jobs/{id}/events")).send().await.expect("it answers");
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let run = format!(
        "update jobs set state = 'running', worker = id, started_at = now(), progress = '{{\"done\": 3}}' where id = '{id}'"
    );
    let further = format!("update jobs set progress = '{{\"done\": 7, \"total\": 9}}' where id = '{id}'");
    let end = format!("update jobs set state = 'done', finished_at = now() where id = '{id}'");
    let mut next = [run, further, end].into_iter();
    while let Some(piece) = answer.chunk().await.expect("the connection holds") {
        text.push_str(std::str::from_utf8(&piece).expect("UTF-8"));
        // One step after each event, so that none is passed over.
        if text.ends_with("\n\n")
            && let Some(step) = next.next()
        {
            sqlx::raw_sql(sqlx::AssertSqlSafe(step))
                .execute(&amzigo.database.pool)
                .await
                .expect("it can be changed");
        }
    }
    let events: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(events, ["state", "state", "progress", "end"], "{text}");
    let data: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect();
    assert_eq!(data[2]["progress"], json!({ "done": 7, "total": 9, "message": null }));
    assert_eq!(data[3]["state"], "done");
}

#[tokio::test]
async fn many_who_wait_cost_the_database_what_one_costs() {
    let (amzigo, _console, program) = started(&ALL_SCOPES).await;
    let seller = |n: usize| format!("0193cf5e-7e2a-7c11-9a53-{n:012x}");
    let mut ids = Vec::new();
    for n in 0..60 {
        ids.push(program.sync_orders(&seller(n)).await.id());
    }
    let transactions = async || -> i64 {
        sqlx::query_scalar("select xact_commit from pg_stat_database where datname = current_database()")
            .fetch_one(&amzigo.database.pool)
            .await
            .expect("Postgres counts")
    };
    let before = transactions().await;
    let waits = ids.iter().map(|id| {
        let (program, path) = (program.clone(), format!("/v1/jobs/{id}/wait?timeout=5"));
        async move { program.get(&path).await.status }
    });
    let statuses = futures::future::join_all(waits).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    // 60 who ask ten times a second each would be 3,000; a backend may tell its count a second late.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let asked = transactions().await - before;
    assert!(asked < 600, "{asked} transactions");
}
