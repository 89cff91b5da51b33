//! Jobs that are no longer worth starting are cancelled instead of run, whether or not anybody asks for them.

use std::time::Duration;

use queue::{
    WorkerId,
    expiry::sweep,
    ledger::{Begun, Settled},
    outbox::NewJob,
    retry::Verdict,
};

use crate::deployment::{Deployment, job, seconds, start};

fn expiring(after: i64) -> NewJob {
    NewJob { expires_at: Some(start() + seconds(after)), ..job("a") }
}

#[tokio::test]
async fn a_job_that_starts_too_late_is_cancelled_and_says_why() {
    let deployment = Deployment::new().await;
    let (late, in_time, never) = (expiring(10), expiring(11), job("a"));
    deployment.enqueue(&[late.clone(), in_time.clone(), never.clone()]).await;
    let ids = [late.id, in_time.id, never.id];
    let now = start() + seconds(10);
    let begun = deployment.ledger.begin(WorkerId::new(), 1, &ids, now).await.unwrap();
    assert_eq!(begun[&late.id], Begun::Finished);
    for id in [in_time.id, never.id] {
        assert!(matches!(begun[&id], Begun::Run { .. }), "{begun:?}");
    }
    let row = deployment.row(late.id).await;
    assert_eq!((row.state.as_str(), row.attempts, row.finished_at), ("cancelled", 0, Some(now)));
    assert_eq!(
        row.last_error.as_deref(),
        Some("expired: no run had begun by 2026-09-21T14:13:30Z"),
        "the moment that was missed"
    );
    let again = deployment.ledger.begin(WorkerId::new(), 2, &[late.id], now).await.unwrap();
    assert_eq!(again[&late.id], Begun::Finished);
}

#[tokio::test]
async fn what_nobody_asks_for_is_swept_in_bounded_steps() {
    let deployment = Deployment::new().await;
    let expired = [expiring(1), expiring(2), expiring(3).due_at(start() + seconds(100))];
    let (later, never) = (expiring(60), job("a"));
    deployment.enqueue(&[&expired[..], &[later.clone(), never.clone()]].concat()).await;
    let now = start() + seconds(30);
    assert_eq!(sweep(&deployment.pool, start(), 10).await.unwrap(), 0);
    assert_eq!(sweep(&deployment.pool, now, 2).await.unwrap(), 2);
    assert_eq!(sweep(&deployment.pool, now, 2).await.unwrap(), 1);
    assert_eq!(sweep(&deployment.pool, now, 2).await.unwrap(), 0);
    assert_eq!(deployment.ids_in("cancelled").await, expired.iter().map(|job| job.id).collect());
    assert_eq!(deployment.ids_in("ready").await, [later.id, never.id].into());
}

#[tokio::test]
async fn a_job_that_has_begun_does_not_expire() {
    let deployment = Deployment::new().await;
    let begun = expiring(10);
    deployment.enqueue(std::slice::from_ref(&begun)).await;
    deployment.ledger.begin(WorkerId::new(), 1, &[begun.id], start()).await.unwrap();
    let late = start() + seconds(3_600);
    assert_eq!(sweep(&deployment.pool, late, 10).await.unwrap(), 0);
    let verdict = Verdict::Retry { due_at: late, error: "no".to_owned() };
    deployment.ledger.settle(&[Settled { id: begun.id, fence: 1, verdict }], late).await.unwrap();
    assert_eq!(sweep(&deployment.pool, late, 10).await.unwrap(), 0);
    let second = deployment.ledger.begin(WorkerId::new(), 2, &[begun.id], late).await.unwrap();
    assert!(matches!(second[&begun.id], Begun::Run { attempts: 1, .. }), "{second:?}");
}

#[tokio::test]
async fn a_wait_counts_from_when_the_job_could_run() {
    let deployment = Deployment::new().await;
    let waits = |due| NewJob { expires_after: Some(Duration::from_secs(10)), due_at: due, ..job("a") };
    let (now, later) = (waits(None), waits(Some(start() + seconds(100))));
    let mut said = later.clone();
    (said.id, said.expires_at) = (queue::JobId::new(), Some(start() + seconds(5)));
    deployment.enqueue(&[now.clone(), later.clone(), said.clone()]).await;
    for (moment, cancelled) in [(5, vec![said.id]), (10, vec![said.id, now.id]), (109, vec![said.id, now.id])]
    {
        sweep(&deployment.pool, start() + seconds(moment), 10).await.unwrap();
        assert_eq!(deployment.ids_in("cancelled").await, cancelled.into_iter().collect(), "after {moment} s");
    }
    sweep(&deployment.pool, start() + seconds(110), 10).await.unwrap();
    assert_eq!(deployment.ids_in("delayed").await, [].into());
}

#[tokio::test]
async fn what_has_expired_frees_its_key() {
    let deployment = Deployment::new().await;
    for unique in [queue::Unique::WhileWaiting, queue::Unique::UntilDone] {
        let keyed = || NewJob { unique_key: Some(unique.to_string()), unique, ..expiring(1) };
        let first = keyed();
        deployment.enqueue(std::slice::from_ref(&first)).await;
        sweep(&deployment.pool, start() + seconds(2), 10).await.unwrap();
        let second = keyed();
        let answer = deployment.enqueue(std::slice::from_ref(&second)).await;
        assert_eq!(answer, [queue::outbox::Enqueued::New(second.id)], "{unique}");
    }
}

#[tokio::test]
async fn a_sweep_and_a_beginning_at_once_agree() {
    let deployment = Deployment::new().await;
    let now = start() + seconds(10);
    for _ in 0..20 {
        let expired = expiring(10);
        deployment.enqueue(std::slice::from_ref(&expired)).await;
        let ids = [expired.id];
        let (swept, begun) = tokio::join!(
            sweep(&deployment.pool, now, 10),
            deployment.ledger.begin(WorkerId::new(), 1, &ids, now)
        );
        swept.unwrap();
        // Where the other one was faster there may be no answer, which asks again.
        assert!(matches!(begun.unwrap().get(&expired.id), None | Some(Begun::Finished)));
        assert_eq!(deployment.row(expired.id).await.state, "cancelled");
    }
}
