//! Cancelling jobs that wait, run, or have ended; and how far a run has come.

use queue::progress::Progress;
use serde_json::{Value, json};

use crate::{
    amzigo::Serving,
    deployment::{Deployment, SELLER},
};

fn cancel(id: &str) -> [&str; 5] {
    ["jobs", "cancel", id, "--reason", "enqueued by mistake"]
}

fn act(id: &str) -> (String, String, String, String) {
    ("tests".to_owned(), "jobs.cancel".to_owned(), id.to_owned(), "enqueued by mistake".to_owned())
}

#[tokio::test]
async fn a_job_that_waits_is_cancelled_at_once_and_a_second_time_is_refused() {
    let deployment = Deployment::new().await;
    let job = deployment.ready(SELLER).await;
    let id = job.to_string();
    assert_eq!(deployment.does(&cancel(&id)), format!("Cancelled job {id}: it waited.\n"));
    assert_eq!(deployment.amzigo.states(&[job]).await, ["cancelled"]);
    let again = deployment.run(&cancel(&id));
    assert!(again.error(3).contains("is cancelled: only a job that waits or runs"), "{}", again.err);
    assert_eq!(deployment.amzigo.audit().await, [act(&id)]);
    let shown = deployment.run(&["job", &id, "--json"]).json();
    assert_eq!((&shown["cancel"]["by"], &shown["why"]), (&json!("tests"), &json!([])));
    let unknown = deployment.run(&cancel(SELLER));
    assert!(unknown.error(3).contains("there is no job"), "{}", unknown.err);
    let silent = deployment.run(&["jobs", "cancel", &id]);
    assert!(silent.error(2).contains("--reason"), "{}", silent.err);
}

#[tokio::test]
async fn a_job_that_runs_is_asked_to_stop_once_and_shows_how_far_it_has_come() {
    let deployment = Deployment::new().await;
    let job = deployment.ready(SELLER).await;
    let id = job.to_string();
    let (_, fence) = deployment.begin().await;
    let told = Progress { done: 120, total: Some(400), message: Some("page <2>".to_owned()) };
    deployment.ledger().note_progress(&[(job, fence, told)]).await.expect("it is noted");

    let asked = deployment.does(&cancel(&id));
    assert!(asked.contains("it is asked to stop") && asked.contains("dropped 10 s later"), "{asked}");
    assert_eq!(deployment.amzigo.states(&[job]).await, ["running"]);
    let again = deployment.does(&cancel(&id));
    assert!(again.starts_with(&format!("Nothing new: job {id} was asked to stop at ")), "{again}");
    let again = deployment.run(&[&cancel(&id)[..], &["--json"]].concat()).json();
    assert_eq!((&again["cancelled"], &again["asked_to_stop"]), (&json!(false), &json!(true)));
    assert_ne!(again["asked_before"], Value::Null);
    assert_eq!(deployment.amzigo.audit().await, [act(&id)]);

    let shown = deployment.does(&["job", &id]);
    for expected in ["120 of 400 (30 %): page <2>", "by tests: enqueued by mistake", "its lease lasts until"]
    {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let console =
        Serving::start_on(&deployment.amzigo, &deployment.redis.url, deployment.redis.redis.prefix()).await;
    let page = console.get(&format!("/jobs/{id}")).await;
    for expected in [
        "<progress max=\"400\" value=\"120\">",
        "120 of 400",
        "page &lt;2&gt;",
        "Asked to stop",
        "enqueued by mistake",
        "its lease lasts until",
    ] {
        assert!(page.text.contains(expected), "{expected}: {}", page.text);
    }
}
