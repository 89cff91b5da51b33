//! What ended long ago is deleted, in bounded batches; what still matters stays.

use std::{collections::BTreeSet, time::Duration};

use queue::{
    JobId, Unique, WorkerId, batch,
    ledger::Settled,
    outbox::{Cause, Enqueued, NewJob},
    prune::{MAX_PRUNED, prune_batches, prune_jobs},
    retry::Verdict,
};
use serde_json::json;

use crate::deployment::{Deployment, job, seconds, start};

impl Deployment {
    /// Enqueues a job and lets its run end so, both now.
    async fn ended(&self, job: &NewJob, verdict: Verdict) -> JobId {
        self.enqueue(std::slice::from_ref(job)).await;
        self.ledger.begin(WorkerId::new(), 1, &[job.id], self.now()).await.unwrap();
        self.ledger.settle(&[Settled { id: job.id, fence: 1, verdict }], self.now()).await.unwrap();
        job.id
    }

    async fn all_ids(&self) -> BTreeSet<JobId> {
        sqlx::query_scalar("select id from jobs").fetch_all(&self.pool).await.unwrap().into_iter().collect()
    }
}

fn done() -> Verdict {
    Verdict::Done { report: json!(1) }
}

#[tokio::test]
async fn only_what_was_done_or_cancelled_long_ago_goes() {
    let deployment = Deployment::new().await;
    let old = deployment.ended(&job("a"), done()).await;
    deployment.ended(&job("a"), Verdict::Cancelled { reason: "not wanted".to_owned() }).await;
    let dead = deployment.ended(&job("a"), Verdict::Dead { error: "no".to_owned() }).await;
    let later = Verdict::Retry { due_at: start(), error: "again".to_owned() };
    let delayed = deployment.ended(&job("a"), later).await;
    let follower = NewJob { cause: Cause::Job(old), ..job("a") };
    deployment.enqueue(std::slice::from_ref(&follower)).await;
    deployment.queues.clock.set(start() + seconds(100));
    let young = deployment.ended(&job("a"), done()).await;

    let cutoff = start() + seconds(100);
    assert_eq!(prune_jobs(&deployment.pool, start(), deployment.now()).await.unwrap(), 0, "none is older");
    assert_eq!(prune_jobs(&deployment.pool, cutoff, deployment.now()).await.unwrap(), 2);
    assert_eq!(prune_jobs(&deployment.pool, cutoff, deployment.now()).await.unwrap(), 0);
    assert_eq!(deployment.all_ids().await, [dead, delayed, follower.id, young].into());
    assert_eq!(deployment.failures(dead).await.len(), 1, "a dead letter keeps its errors");
    let caused_by: Option<JobId> = sqlx::query_scalar("select caused_by from jobs where id = $1")
        .bind(follower.id.0)
        .fetch_one(&deployment.pool)
        .await
        .unwrap();
    assert_eq!(caused_by, None);
}

#[tokio::test]
async fn failures_go_with_their_job() {
    let deployment = Deployment::new().await;
    let id = deployment.ended(&job("a"), Verdict::Retry { due_at: start(), error: "x".to_owned() }).await;
    deployment.ledger.begin(WorkerId::new(), 2, &[id], start()).await.unwrap();
    deployment.ledger.settle(&[Settled { id, fence: 2, verdict: done() }], start()).await.unwrap();
    assert_eq!(deployment.failures(id).await.len(), 1);
    assert_eq!(prune_jobs(&deployment.pool, start() + seconds(1), start()).await.unwrap(), 1);
    assert_eq!(deployment.failures(id).await, []);
}

#[tokio::test]
async fn a_period_that_is_not_over_keeps_its_job() {
    let deployment = Deployment::new().await;
    let hour = Unique::For(Duration::from_secs(3_600));
    let keyed = || NewJob { unique_key: Some("one".to_owned()), unique: hour, ..job("a") };
    let id = deployment.ended(&keyed(), done()).await;
    let cutoff = start() + seconds(60);
    assert_eq!(prune_jobs(&deployment.pool, cutoff, cutoff).await.unwrap(), 0);
    assert_eq!(deployment.enqueue(&[keyed()]).await, [Enqueued::Exists(id)]);
    let over = start() + seconds(3_600);
    assert_eq!(prune_jobs(&deployment.pool, cutoff, over).await.unwrap(), 1);
}

#[tokio::test]
async fn a_batch_keeps_its_jobs_until_it_has_finished_and_goes_after_them() {
    let deployment = Deployment::new().await;
    let mut connection = deployment.pool.acquire().await.unwrap();
    let id = batch::open(&mut connection, start()).await.unwrap();
    let of = || NewJob { batch: Some(id), ..job("a") };
    deployment.ended(&of(), done()).await;
    let dead = deployment.ended(&of(), Verdict::Dead { error: "no".to_owned() }).await;
    let running = of();
    deployment.enqueue(std::slice::from_ref(&running)).await;
    batch::seal(&mut connection, id, None, start()).await.unwrap();

    let cutoff = start() + seconds(60);
    assert_eq!(prune_jobs(&deployment.pool, cutoff, cutoff).await.unwrap(), 0, "its counts would be wrong");
    deployment.ledger.begin(WorkerId::new(), 1, &[running.id], start()).await.unwrap();
    let settled = Settled { id: running.id, fence: 1, verdict: done() };
    deployment.ledger.settle(&[settled], start()).await.unwrap();
    assert_eq!(batch::finish_ended(&deployment.pool, start(), 10).await.unwrap(), [id]);

    assert_eq!(prune_jobs(&deployment.pool, cutoff, cutoff).await.unwrap(), 2);
    assert_eq!(prune_batches(&deployment.pool, cutoff).await.unwrap(), 0, "a dead letter belongs to it");
    let progress = batch::progress(&mut connection, id).await.unwrap().expect("it is kept");
    assert_eq!((progress.total, progress.done, progress.dead), (3, 2, 1), "its counts outlive its jobs");
    queue::dead::discard(&mut connection, dead, start()).await.unwrap();
    assert_eq!(prune_jobs(&deployment.pool, cutoff, cutoff).await.unwrap(), 1);
    assert_eq!(prune_batches(&deployment.pool, cutoff).await.unwrap(), 1);
    assert_eq!(batch::progress(&mut connection, id).await.unwrap(), None);
}

#[tokio::test]
async fn a_batch_that_was_never_sealed_is_given_up() {
    let deployment = Deployment::new().await;
    let mut connection = deployment.pool.acquire().await.unwrap();
    let id = batch::open(&mut connection, start()).await.unwrap();
    deployment.ended(&NewJob { batch: Some(id), ..job("a") }, done()).await;
    let cutoff = start() + seconds(60);
    assert_eq!(prune_batches(&deployment.pool, cutoff).await.unwrap(), 0);
    assert_eq!(prune_jobs(&deployment.pool, cutoff, cutoff).await.unwrap(), 1);
    assert_eq!(prune_batches(&deployment.pool, cutoff).await.unwrap(), 1);
}

/// Ten thousand rows in the way: a batch is bounded, finds its rows by the index, and two at once share the work.
#[tokio::test]
async fn many_go_in_bounded_batches_by_the_index() {
    let deployment = Deployment::new().await;
    let fill = "insert into jobs (id, kind, queue, group_name, payload, state, cause, created_at, touched_at, due_at, finished_at)
        select gen_random_uuid(), 'count_stock', 'sync', 'a', '{}', case when n % 5 = 0 then 'dead' else 'done' end, 'cli',
            $1, $1, $1, $1 + n * interval '1 second'
        from generate_series(1, 10000) as n";
    sqlx::query(fill).bind(start()).execute(&deployment.pool).await.unwrap();
    sqlx::query("analyze jobs").execute(&deployment.pool).await.unwrap();
    let cutoff = start() + seconds(5_001);
    let plan: Vec<String> = sqlx::query_scalar(
        "explain select id from jobs where finished_at < $1 and not is_dead order by finished_at limit 1000",
    )
    .bind(cutoff)
    .fetch_all(&deployment.pool)
    .await
    .unwrap();
    assert!(plan.iter().any(|line| line.contains("jobs_ended")), "{plan:?}");

    let (one, other) = tokio::join!(
        prune_jobs(&deployment.pool, cutoff, cutoff),
        prune_jobs(&deployment.pool, cutoff, cutoff)
    );
    let mut pruned = one.unwrap() + other.unwrap();
    assert!(pruned >= MAX_PRUNED, "two at once skip each other's rows");
    loop {
        let count = prune_jobs(&deployment.pool, cutoff, cutoff).await.unwrap();
        assert!(count <= MAX_PRUNED);
        pruned += count;
        if count < MAX_PRUNED {
            break;
        }
    }
    assert_eq!(pruned, 4_000);
    assert_eq!(deployment.ids_in("dead").await.len(), 2_000);
    assert_eq!(deployment.ids_in("done").await.len(), 4_000);
}
