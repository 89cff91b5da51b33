//! Why a job waits, in words, for each thing that can be in its way.

use queue::{JobId, WorkerId};
use serde_json::json;

use crate::deployment::{Deployment, OTHER_SELLER, QUEUE, SELLER};

fn explain(deployment: &Deployment, id: JobId) -> String {
    deployment.does(&["jobs", "explain", &id.to_string()])
}

fn reasons(deployment: &Deployment, id: JobId) -> Vec<String> {
    let said = deployment.run(&["jobs", "explain", &id.to_string(), "--json"]).json();
    let reasons = said["reasons"].as_array().expect("a list");
    reasons.iter().map(|reason| reason["reason"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn what_is_paused_is_named_with_who_did_it_and_how_to_resume() {
    let deployment = Deployment::new().await;
    deployment.engine.heartbeat(QUEUE, WorkerId::new()).await.expect("a worker");
    let id = deployment.ready(SELLER).await;
    assert_eq!(reasons(&deployment, id), ["turn"]);
    deployment.does(&["pause", "sync", "--reason", "Amazon is ill", "--as", "Ann"]);
    deployment.does(&["pause", "sync", "--kind", "sync_orders", "--reason", "a bug"]);
    deployment.does(&["pause", "sync", "--group", SELLER, "--reason", "they asked"]);
    assert_eq!(reasons(&deployment, id), ["queue_paused", "kind_paused", "group_paused", "turn"]);
    let said = explain(&deployment, id);
    for expected in [
        "the queue sync is paused since ".to_owned(),
        "Z by Ann (“Amazon is ill”)".to_owned(),
        "`amzigo resume sync --reason '…'`".to_owned(),
        "`amzigo resume sync --kind sync_orders --reason '…'`".to_owned(),
        format!("`amzigo resume sync --group '{SELLER}' --reason '…'`"),
        "by tests (“they asked”)".to_owned(),
    ] {
        assert!(said.contains(&expected), "{expected}: {said}");
    }
    let shown = deployment.run(&["job", &id.to_string(), "--json"]).json();
    assert_eq!((&shown["why"][0]["reason"], &shown["state"]), (&json!("queue_paused"), &json!("ready")));
    let text = deployment.does(&["job", &id.to_string()]);
    assert!(text.contains("by Ann"), "{text}");
}

#[tokio::test]
async fn a_full_kind_and_a_full_group_are_named_with_their_limits() {
    let deployment = Deployment::new().await;
    deployment.does(&["limit", "sync", "--kind", "sync_orders", "1", "--reason", "spare the database"]);
    deployment.ready(SELLER).await;
    deployment.begin().await;
    let id = deployment.ready(OTHER_SELLER).await;
    assert_eq!(reasons(&deployment, id)[0], "kind_at_limit");
    let said = explain(&deployment, id);
    assert!(said.contains("1 of 1 runs of kind sync_orders on sync, which is its limit since "), "{said}");
    assert!(said.contains("`amzigo limit sync --kind sync_orders none --reason '…'`"), "{said}");
}

#[tokio::test]
async fn a_limit_of_each_group_is_named_as_what_it_is() {
    let deployment = Deployment::new().await;
    deployment.does(&["limit", "sync", "1", "--reason", "be fair"]);
    deployment.ready(SELLER).await;
    deployment.begin().await;
    let other = deployment.run(&["enqueue", "plan_review_requests", "--seller", SELLER, "--json"]).json();
    let id = other["id"].as_str().expect("an id").parse().expect("an id");
    deployment.relay().await;
    let said = explain(&deployment, id);
    assert!(
        said.contains(&format!("1 of 1 runs of group {SELLER} on sync, which is its limit since ")),
        "{said}"
    );
    assert!(said.contains("by tests (“be fair”)") && said.contains("`amzigo limit sync none "), "{said}");
    assert!(said.contains("then it waits for its turn: 0 jobs of its group"), "{said}");
}

#[tokio::test]
async fn running_delayed_in_the_outbox_ended_and_unknown_are_told_apart() {
    let deployment = Deployment::new().await;
    let outbox = deployment.enqueue(SELLER, &[]);
    assert!(explain(&deployment, outbox).contains("it waits in the outbox"));
    let delayed = deployment.enqueue(OTHER_SELLER, &["--delay", "10m"]);
    assert!(explain(&deployment, delayed).contains("it is delayed until "));

    deployment.relay().await;
    let (worker, _) = deployment.begin().await;
    let said = explain(&deployment, outbox);
    assert!(said.contains(&format!("worker {worker} runs it since ")), "{said}");
    assert!(said.contains("its lease lasts until "), "{said}");

    let dead = deployment.amzigo.dead_letter("sync_orders", "boom", None).await;
    let said = explain(&deployment, dead);
    assert!(said.contains("it is dead since 2026-11-23T10:00:00Z"), "{said}");
    assert!(said.contains(&format!("`amzigo dead requeue {dead} --reason '…'`")), "{said}");

    let unknown = deployment.run(&["jobs", "explain", SELLER]);
    assert!(unknown.error(3).contains("there is no job"), "{}", unknown.err);
}

#[tokio::test]
async fn no_worker_a_closed_queue_and_a_lost_entry_are_named() {
    let deployment = Deployment::new().await;
    let id = deployment.ready(SELLER).await;
    assert_eq!(reasons(&deployment, id), ["no_worker", "turn"]);
    assert!(explain(&deployment, id).contains("no worker is on queue sync"));
    // Another prefix is a Redis that has lost everything.
    let mut elsewhere = deployment.amzigo.command(&["jobs", "explain", &id.to_string()]);
    elsewhere.env("REDIS_URL", &deployment.redis.url).env("AMZIGO_PREFIX", "test-nothing-there");
    let said = crate::amzigo::answer(elsewhere.output().expect("the binary starts")).out;
    for expected in ["queue sync is closed", "Redis does not hold it", "start a scheduler"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[tokio::test]
async fn without_redis_explain_fails_and_a_job_is_shown_all_the_same() {
    let deployment = Deployment::new().await;
    let id = deployment.ready(SELLER).await.to_string();
    let failed = deployment.run_without_redis(&["jobs", "explain", &id]);
    assert!(failed.error(1).contains("could not talk to Redis"), "{}", failed.err);
    let shown = deployment.run_without_redis(&["job", &id]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.contains("cannot be told: could not talk to Redis"), "{}", shown.out);
    let shown = deployment.run_without_redis(&["job", &id, "--json"]).json();
    assert_eq!((&shown["why"], shown["why_unknown"].is_string()), (&json!([]), true));
}
