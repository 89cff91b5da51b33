//! Cancelling jobs that wait and jobs that run, and how far runs say they have come.

use queue::{
    Failure, JobId, WorkerId,
    cancel::{CancelError, Cancelled, cancel, cancel_group},
    ledger::{Begun, Settled},
    progress::Progress,
    retry::Verdict,
};
use serde_json::{Value, json};

use crate::{
    deployment::{Deployment, eventually, job, seconds, start},
    working::Works,
};

async fn cancelled(deployment: &Deployment, id: JobId) -> Result<Cancelled, CancelError> {
    cancel(&mut deployment.pool.acquire().await.unwrap(), id, start() + seconds(5)).await
}

async fn state(deployment: &Deployment, id: JobId) -> String {
    deployment.row(id).await.state
}

#[tokio::test]
async fn a_job_that_waits_is_cancelled_at_once_and_never_runs() {
    let deployment = Deployment::new().await;
    let (ready, delayed) = (job("a"), job("a").due_at(start() + seconds(60)));
    deployment.enqueue(&[ready.clone(), delayed.clone()]).await;
    deployment.relay().await;
    for job in [&ready, &delayed] {
        assert_eq!(cancelled(&deployment, job.id).await.unwrap(), Cancelled::AtOnce);
        assert_eq!(state(&deployment, job.id).await, "cancelled");
        let again = cancelled(&deployment, job.id).await.expect_err("it has ended");
        assert!(matches!(again, CancelError::Ended { .. }), "{again}");
    }
    // Its copy is still in Redis: whoever claims it learns that it has ended.
    assert_eq!(deployment.queues.claim(WorkerId::new(), 5).await, [ready.id]);
    let begun = deployment.ledger.begin(WorkerId::new(), i64::MAX, &[ready.id], start()).await.unwrap();
    assert_eq!(begun[&ready.id], Begun::Finished);
    let unknown = cancelled(&deployment, JobId::new()).await.expect_err("there is none");
    assert!(matches!(unknown, CancelError::Unknown(_)), "{unknown}");
}

#[tokio::test]
async fn whatever_an_asked_run_ends_with_but_a_success_is_a_cancellation() {
    let deployment = Deployment::new().await;
    let worker = WorkerId::new();
    let due_at = start() + seconds(60);
    let ends = [
        (Verdict::Done { report: json!(1) }, "done"),
        (Verdict::Retry { due_at, error: "down".to_owned() }, "cancelled"),
        (Verdict::Snooze { due_at, waits_for: "a budget".to_owned() }, "cancelled"),
        (Verdict::Dead { error: "no such seller".to_owned() }, "cancelled"),
        (Verdict::HandBack, "cancelled"),
        (Verdict::Cancelled { reason: "asked to".to_owned() }, "cancelled"),
    ];
    for (verdict, becomes) in ends {
        let id = deployment.begun(worker, 1).await;
        assert_eq!(cancelled(&deployment, id).await.unwrap(), Cancelled::Asked);
        assert_eq!(state(&deployment, id).await, "running");
        assert_eq!(deployment.ledger.cancel_requested(worker).await.unwrap(), [id]);
        let settled = Settled { id, fence: 1, verdict };
        deployment.ledger.settle(&[settled], start() + seconds(9)).await.unwrap();
        let row = deployment.row(id).await;
        assert_eq!((row.state.as_str(), row.finished_at), (becomes, Some(start() + seconds(9))));
        assert_eq!(deployment.ledger.cancel_requested(worker).await.unwrap(), []);
    }
}

#[tokio::test]
async fn an_asked_run_whose_worker_is_lost_is_cancelled_and_not_run_again() {
    let deployment = Deployment::new().await;
    let (lost, other) = (WorkerId::new(), WorkerId::new());
    let id = deployment.begun(lost, 1).await;
    cancelled(&deployment, id).await.unwrap();
    let answer = deployment.ledger.take_over(other, 2, &[(id, lost, 3)], None, start()).await.unwrap();
    assert_eq!(answer[&id], Begun::Finished);
    assert_eq!(state(&deployment, id).await, "cancelled");
}

#[tokio::test]
async fn a_run_hears_that_it_is_to_stop() {
    let works = Works::new().await;
    let (asked, other) = (job("a"), job("b"));
    let asked_id = asked.id;
    let worker = works
        .worker(2, move |run| async move {
            if run.id == asked_id {
                run.signals.until_asked_to_stop().await;
                return Err(Failure::cancel("asked to"));
            }
            Ok(Value::Null)
        })
        .await;
    works.enqueue(&[asked.clone(), other.clone()]).await;
    works.until_all(std::slice::from_ref(&other), "done").await;
    works.until_all(std::slice::from_ref(&asked), "running").await;
    assert_eq!(cancelled(&works.deployment, asked.id).await.unwrap(), Cancelled::Asked);
    works.until_all(std::slice::from_ref(&asked), "cancelled").await;
    worker.stop().await;
    works.nothing_is_leased().await;
}

#[tokio::test]
async fn a_run_that_does_not_listen_is_dropped_after_its_grace() {
    let works = Works::new().await;
    let stubborn = job("a");
    let worker = works.worker(1, |_| std::future::pending()).await;
    works.enqueue(std::slice::from_ref(&stubborn)).await;
    works.until_all(std::slice::from_ref(&stubborn), "running").await;
    cancelled(&works.deployment, stubborn.id).await.unwrap();
    works.until_all(std::slice::from_ref(&stubborn), "cancelled").await;
    let row = works.deployment.row(stubborn.id).await;
    assert_eq!(row.last_error.as_deref(), Some("the run did not stop within 10 s after it was asked to"));
    worker.stop().await;
    works.nothing_is_leased().await;
}

#[tokio::test]
async fn how_far_a_run_has_come_is_seen_while_it_runs() {
    let works = Works::new().await;
    let long = job("a");
    let worker = works
        .worker(1, |run| async move {
            run.signals.tell(1, Some(3));
            run.signals.tell_with(2, Some(3), "the second shelf");
            std::future::pending().await
        })
        .await;
    works.enqueue(std::slice::from_ref(&long)).await;
    let seen = Progress { done: 2, total: Some(3), message: Some("the second shelf".to_owned()) };
    eventually("the progress is in the ledger", async || {
        let progress: Option<Value> =
            sqlx::query_scalar("select progress from jobs where id = $1 and state = 'running'")
                .bind(long.id.0)
                .fetch_one(&works.deployment.pool)
                .await
                .unwrap_or_default();
        progress.and_then(|progress| serde_json::from_value(progress).ok()) == Some(seen.clone())
    })
    .await;
    worker.stop_hard().await;
    works.nothing_is_leased().await;
}

#[tokio::test]
async fn the_word_of_a_run_that_lost_its_job_changes_nothing() {
    let deployment = Deployment::new().await;
    let id = deployment.begun(WorkerId::new(), 2).await;
    let told = |done| Progress { done, ..Progress::default() };
    deployment.ledger.note_progress(&[(id, 1, told(9)), (id, 2, told(1))]).await.unwrap();
    let progress: Value = sqlx::query_scalar("select progress from jobs where id = $1")
        .bind(id.0)
        .fetch_one(&deployment.pool)
        .await
        .unwrap();
    assert_eq!(progress, json!({ "done": 1 }));
}

#[tokio::test]
async fn a_groups_jobs_are_cancelled_together_and_others_stay() {
    let deployment = Deployment::new().await;
    let worker = WorkerId::new();
    let runs = deployment.begun(worker, 1).await;
    let (ready, other) = (job("a"), job("another"));
    let delayed = job("a").due_at(start() + seconds(60));
    let mut kept = job("a");
    kept.kind = "delete_it_all".to_owned();
    deployment.enqueue(&[ready.clone(), delayed.clone(), other.clone(), kept.clone()]).await;

    let mut connection = deployment.pool.acquire().await.unwrap();
    let mut once = async || cancel_group(&mut connection, "a", &["delete_it_all"], start()).await.unwrap();
    let mut cancelled = once().await;
    cancelled.sort();
    let mut expected = [runs, ready.id, delayed.id];
    expected.sort();
    assert_eq!(cancelled, expected);
    assert_eq!(once().await, [], "the run has been asked, and is not asked again");
    for (id, becomes) in [
        (ready.id, "cancelled"),
        (delayed.id, "cancelled"),
        (runs, "running"),
        (other.id, "ready"),
        (kept.id, "ready"),
    ] {
        assert_eq!(state(&deployment, id).await, becomes, "{id}");
    }
    assert_eq!(deployment.ledger.cancel_requested(worker).await.unwrap(), [runs]);
}
