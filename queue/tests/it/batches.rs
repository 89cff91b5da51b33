//! Batches: one follow-up when all jobs have ended, exactly once, with counts that are the jobs' own.

use queue::{
    BatchId, JobId, WorkerId,
    batch::{self, BatchError, Progress, finish_ended},
    dead::{discard, requeue},
    ledger::Settled,
    outbox::{EnqueueError, NewJob, enqueue},
    retry::Verdict,
};
use serde_json::json;

use crate::deployment::{Deployment, job, seconds, start};

impl Deployment {
    async fn open_batch(&self) -> BatchId {
        batch::open(&mut self.pool.acquire().await.unwrap(), self.now()).await.unwrap()
    }

    async fn seal(&self, id: BatchId, follow_up: Option<&NewJob>) -> Result<(), BatchError> {
        batch::seal(&mut self.pool.acquire().await.unwrap(), id, follow_up, self.now()).await
    }

    async fn finish(&self) -> Vec<BatchId> {
        finish_ended(&self.pool, self.now(), 10).await.unwrap()
    }

    async fn progress(&self, id: BatchId) -> Progress {
        batch::progress(&mut self.pool.acquire().await.unwrap(), id).await.unwrap().expect("it is known")
    }

    async fn run_to(&self, id: JobId, verdict: Verdict) {
        self.ledger.begin(WorkerId::new(), 1, &[id], self.now()).await.unwrap();
        let settled = Settled { id, fence: 1, verdict };
        assert_eq!(self.ledger.settle(&[settled], self.now()).await.unwrap(), [id].into());
    }
}

fn done() -> Verdict {
    Verdict::Done { report: json!(1) }
}

fn dead() -> Verdict {
    Verdict::Dead { error: "no".to_owned() }
}

fn of(batch: BatchId) -> NewJob {
    NewJob { batch: Some(batch), ..job("a") }
}

fn counts(progress: &Progress) -> [i64; 5] {
    [progress.total, progress.done, progress.dead, progress.cancelled, progress.unfinished]
}

#[tokio::test]
async fn the_follow_up_comes_when_all_have_ended_and_learns_how() {
    let deployment = Deployment::new().await;
    let id = deployment.open_batch().await;
    let jobs = [of(id), of(id), of(id), of(id)];
    deployment.enqueue(&jobs[..2]).await;
    deployment.enqueue(&jobs[2..]).await;
    deployment.run_to(jobs[0].id, done()).await;
    assert_eq!(counts(&deployment.progress(id).await), [4, 1, 0, 0, 3]);

    let follow_up = NewJob { group: "b".to_owned(), ..job("b") };
    deployment.seal(id, Some(&follow_up)).await.unwrap();
    deployment.run_to(jobs[1].id, dead()).await;
    deployment.run_to(jobs[2].id, Verdict::Cancelled { reason: "not wanted".to_owned() }).await;
    assert_eq!(deployment.finish().await, [], "one has not ended");

    deployment.queues.clock.set(start() + seconds(9));
    deployment.run_to(jobs[3].id, done()).await;
    assert_eq!(deployment.finish().await, [id]);
    let progress = deployment.progress(id).await;
    assert_eq!(counts(&progress), [4, 2, 1, 1, 0]);
    assert_eq!((progress.finished_at, progress.follow_up), (Some(start() + seconds(9)), Some(follow_up.id)));
    assert_eq!(deployment.ids_in("ready").await, [follow_up.id].into());
    let mut connection = deployment.pool.acquire().await.unwrap();
    let learnt = batch::followed_by(&mut connection, follow_up.id).await.unwrap();
    assert_eq!(learnt, Some(progress));
    assert_eq!(batch::followed_by(&mut connection, jobs[0].id).await.unwrap(), None);
}

#[tokio::test]
async fn a_second_look_and_a_requeued_letter_cause_no_second_follow_up() {
    let deployment = Deployment::new().await;
    let id = deployment.open_batch().await;
    let only = of(id);
    deployment.enqueue(std::slice::from_ref(&only)).await;
    let follow_up = job("b");
    deployment.seal(id, Some(&follow_up)).await.unwrap();
    deployment.run_to(only.id, dead()).await;
    assert_eq!(deployment.finish().await, [id]);
    assert_eq!(deployment.finish().await, []);

    let mut connection = deployment.pool.acquire().await.unwrap();
    requeue(&mut connection, only.id, start()).await.unwrap();
    deployment.ledger.begin(WorkerId::new(), 2, &[only.id], start()).await.unwrap();
    let settled = Settled { id: only.id, fence: 2, verdict: done() };
    deployment.ledger.settle(&[settled], start()).await.unwrap();
    assert_eq!(deployment.finish().await, []);
    assert_eq!(deployment.ids_in("ready").await, [follow_up.id].into());
    assert_eq!(counts(&deployment.progress(id).await), [1, 0, 1, 0, 0], "as they were when it ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_look_at_once_enqueue_one() {
    let deployment = Deployment::new().await;
    for _ in 0..10 {
        let id = deployment.open_batch().await;
        deployment.seal(id, Some(&job("b"))).await.unwrap();
        let looks = (0..6).map(|_| finish_ended(&deployment.pool, start(), 10));
        let found: Vec<_> = futures::future::join_all(looks).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(found.concat(), [id], "an empty batch ends at once, and once");
    }
    assert_eq!(deployment.ids_in("ready").await.len(), 10);
}

#[tokio::test]
async fn nothing_joins_a_sealed_batch_and_it_is_sealed_once() {
    let deployment = Deployment::new().await;
    let id = deployment.open_batch().await;
    deployment.seal(id, None).await.unwrap();
    assert!(matches!(deployment.seal(id, None).await, Err(BatchError::NotOpen(refused)) if refused == id));
    for closed in [id, BatchId::new()] {
        let mut connection = deployment.pool.acquire().await.unwrap();
        let error = enqueue(&mut connection, &[of(closed)], start()).await.expect_err("it is not open");
        assert!(matches!(error, EnqueueError::BatchNotOpen { batch } if batch == closed), "{error:?}");
    }
    assert_eq!(deployment.finish().await, [id]);
    assert_eq!(deployment.ids_in("ready").await, [].into(), "no follow-up was asked for");
}

/// A seal waits for a job that is on its way into the batch; so the batch cannot end without it.
#[tokio::test]
async fn a_job_on_its_way_in_holds_the_seal_up() {
    let deployment = Deployment::new().await;
    let id = deployment.open_batch().await;
    let mut joining = deployment.pool.begin().await.unwrap();
    enqueue(&mut joining, &[of(id)], start()).await.unwrap();
    let mut sealing = Box::pin(deployment.seal(id, None));
    let early = futures::poll!(&mut sealing);
    assert!(early.is_pending());
    let waited = tokio::time::timeout(std::time::Duration::from_millis(100), &mut sealing).await;
    assert!(waited.is_err(), "sealed while a job was joining");
    joining.commit().await.unwrap();
    sealing.await.unwrap();
    assert_eq!(deployment.finish().await, []);
    assert_eq!(counts(&deployment.progress(id).await), [1, 0, 0, 0, 1]);
}

#[tokio::test]
async fn a_follow_up_that_is_there_already_is_the_one_that_follows() {
    let deployment = Deployment::new().await;
    let keyed = || NewJob { unique_key: Some("report".to_owned()), ..job("b") };
    let there = keyed();
    deployment.enqueue(std::slice::from_ref(&there)).await;
    let id = deployment.open_batch().await;
    deployment.seal(id, Some(&keyed())).await.unwrap();
    assert_eq!(deployment.finish().await, [id]);
    assert_eq!(deployment.progress(id).await.follow_up, Some(there.id));
}

#[tokio::test]
async fn one_that_cannot_be_finished_does_not_hold_up_the_others() {
    let deployment = Deployment::new().await;
    let (broken, fine) = (deployment.open_batch().await, deployment.open_batch().await);
    deployment.seal(broken, Some(&job("b"))).await.unwrap();
    deployment.seal(fine, Some(&job("b"))).await.unwrap();
    sqlx::query("update batches set follow_up = '{\"from\": \"the future\"}' where id = $1")
        .bind(broken.0)
        .execute(&deployment.pool)
        .await
        .unwrap();
    let error = finish_ended(&deployment.pool, start(), 10).await.expect_err("one cannot be read");
    assert!(matches!(error, BatchError::Unreadable { batch, .. } if batch == broken), "{error:?}");
    assert!(deployment.progress(fine).await.finished_at.is_some());
    assert_eq!(deployment.progress(broken).await.finished_at, None);
}

#[tokio::test]
async fn a_follow_up_that_the_door_would_refuse_is_refused_at_the_seal() {
    let deployment = Deployment::new().await;
    let id = deployment.open_batch().await;
    let refused = NewJob { group: String::new(), ..job("a") };
    assert!(matches!(deployment.seal(id, Some(&refused)).await, Err(BatchError::Refused { .. })));
    deployment.seal(id, None).await.unwrap();
}

#[tokio::test]
async fn a_discarded_letter_counts_as_cancelled() {
    let deployment = Deployment::new().await;
    let id = deployment.open_batch().await;
    let only = of(id);
    deployment.enqueue(std::slice::from_ref(&only)).await;
    deployment.run_to(only.id, dead()).await;
    let mut connection = deployment.pool.acquire().await.unwrap();
    discard(&mut connection, only.id, start()).await.unwrap();
    assert_eq!(counts(&deployment.progress(id).await), [1, 0, 0, 1, 0]);
}
