//! Dead letters: seen with all their errors, requeued with all their attempts, or given up.

use queue::{
    JobId, WorkerId,
    dead::{DeadError, discard, list, requeue},
    ledger::{Begun, Settled},
    outbox::NewJob,
    retry::Verdict,
};

use crate::deployment::{Deployment, QUEUE, job, seconds, start};

impl Deployment {
    async fn died(&self, job: &NewJob, error: &str) -> JobId {
        self.enqueue(std::slice::from_ref(job)).await;
        self.ledger.begin(WorkerId::new(), 1, &[job.id], self.now()).await.unwrap();
        let settled = Settled { id: job.id, fence: 1, verdict: Verdict::Dead { error: error.to_owned() } };
        assert_eq!(self.ledger.settle(&[settled], self.now()).await.unwrap(), [job.id].into());
        job.id
    }
}

#[tokio::test]
async fn the_last_dead_letter_comes_first_with_its_error() {
    let deployment = Deployment::new().await;
    let first = deployment.died(&job("a"), "no such seller").await;
    deployment.queues.clock.set(start() + seconds(60));
    let second = deployment.died(&job("b"), "the grant is revoked").await;
    let mut connection = deployment.pool.acquire().await.unwrap();
    let letters = list(&mut connection, 10).await.unwrap();
    let seen: Vec<_> =
        letters.iter().map(|letter| (letter.id, letter.group.as_str(), letter.error.as_str())).collect();
    assert_eq!(seen, [(second, "b", "the grant is revoked"), (first, "a", "no such seller")]);
    assert_eq!(list(&mut connection, 1).await.unwrap()[0].id, second);
}

#[tokio::test]
async fn a_requeued_letter_runs_again_with_all_its_attempts_and_keeps_its_errors() {
    let deployment = Deployment::new().await;
    let id = deployment.died(&job("a"), "no such seller").await;
    deployment.relay().await;
    deployment.queues.flush().await;
    deployment.queues.open().await;

    let mut transaction = deployment.pool.begin().await.unwrap();
    assert_eq!(requeue(&mut transaction, id, start() + seconds(60)).await.unwrap(), QUEUE);
    transaction.commit().await.unwrap();
    let row = deployment.row(id).await;
    assert_eq!((row.state.as_str(), row.attempts, row.finished_at), ("ready", 0, None));

    assert_eq!(deployment.relay().await, 1);
    assert_eq!(deployment.queues.claim(WorkerId::new(), 5).await, [id]);
    let begun = deployment.ledger.begin(WorkerId::new(), 2, &[id], start() + seconds(60)).await.unwrap();
    assert_eq!(begun[&id], Begun::Run { attempts: 0, crashes: 0, deadline_at: None, trace: None });
    assert_eq!(deployment.failures(id).await, [("reject".to_owned(), "no such seller".to_owned())]);
}

#[tokio::test]
async fn a_letter_whose_work_another_job_does_is_not_requeued() {
    let deployment = Deployment::new().await;
    let unique = || NewJob { unique_key: Some("one".to_owned()), ..job("a") };
    let id = deployment.died(&unique(), "no").await;
    deployment.enqueue(&[unique()]).await;
    let mut connection = deployment.pool.acquire().await.unwrap();
    let error = requeue(&mut connection, id, start()).await.expect_err("the other one does its work");
    assert!(matches!(error, DeadError::Replaced { id: replaced } if replaced == id), "{error:?}");
    assert_eq!(deployment.row(id).await.state, "dead");
}

#[tokio::test]
async fn a_discarded_letter_is_cancelled_and_never_runs() {
    let deployment = Deployment::new().await;
    let id = deployment.died(&job("a"), "no").await;
    let mut connection = deployment.pool.acquire().await.unwrap();
    discard(&mut connection, id, start() + seconds(5)).await.unwrap();
    let row = deployment.row(id).await;
    assert_eq!((row.state.as_str(), row.finished_at), ("cancelled", Some(start() + seconds(5))));
    let begun = deployment.ledger.begin(WorkerId::new(), 9, &[id], start()).await.unwrap();
    assert_eq!(begun[&id], Begun::Finished);
}

#[tokio::test]
async fn what_is_not_dead_is_left_alone_and_said_so() {
    let deployment = Deployment::new().await;
    let alive = job("a");
    deployment.enqueue(std::slice::from_ref(&alive)).await;
    let mut connection = deployment.pool.acquire().await.unwrap();
    let stranger = JobId::new();
    for (id, state) in [(alive.id, "ready"), (stranger, "unknown")] {
        let refusals = [
            requeue(&mut connection, id, start()).await.expect_err("not dead").to_string(),
            discard(&mut connection, id, start()).await.expect_err("not dead").to_string(),
        ];
        for message in refusals {
            assert!(message.starts_with(&format!("job {id} is {state}, not dead; ")), "{message}");
        }
    }
    assert_eq!(deployment.row(alive.id).await.state, "ready");
}
