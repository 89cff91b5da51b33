//! Letting jobs that snooze run now.

use queue::{WorkerId, hurry::snoozing, ledger::Settled, outbox::NewJob, retry::Verdict};

use crate::deployment::{Deployment, job, seconds, start};

async fn settle(deployment: &Deployment, job: &NewJob, verdict: Verdict) {
    deployment.enqueue(std::slice::from_ref(job)).await;
    deployment.relay().await;
    deployment.ledger.begin(WorkerId::new(), 1, &[job.id], start()).await.unwrap();
    let settled = Settled { id: job.id, fence: 1, verdict };
    deployment.ledger.settle(&[settled], start()).await.unwrap();
}

#[tokio::test]
async fn what_snoozes_runs_now_and_what_waits_for_something_else_stays() {
    let deployment = Deployment::new().await;
    let due_at = start() + seconds(600);
    let snooze = || Verdict::Snooze { due_at, waits_for: "a report".to_owned() };
    let (ours, retries, other) = (job("a"), job("a"), job("another"));
    settle(&deployment, &ours, snooze()).await;
    settle(&deployment, &retries, Verdict::Retry { due_at, error: "down".to_owned() }).await;
    settle(&deployment, &other, snooze()).await;
    let first_start = job("a").due_at(due_at);
    deployment.enqueue(std::slice::from_ref(&first_start)).await;
    deployment.relay().await;

    let mut connection = deployment.pool.acquire().await.unwrap();
    let now = start() + seconds(5);
    assert_eq!(snoozing(&mut connection, "count_stock", "a", now).await.unwrap(), [ours.id]);
    assert_eq!(snoozing(&mut connection, "count_stock", "a", now).await.unwrap(), [], "it is ready already");
    assert_eq!(snoozing(&mut connection, "another_kind", "another", now).await.unwrap(), []);
    let row = deployment.row(ours.id).await;
    assert_eq!((row.state.as_str(), row.due_at, row.waits_for), ("ready", now, None));
    for id in [retries.id, other.id, first_start.id] {
        assert_eq!(deployment.row(id).await.state, "delayed");
    }
    assert_eq!(deployment.relay().await, 1, "Redis is told");
}
