//! A whole worker when things go wrong around it: leases lost, answers lost, entries broken, copies too many.

use std::{collections::HashSet, sync::Arc};

use queue::{lease::LEASE, outbox::NewJob, reconcile::put_back, retry::Verdict};
use redis::AsyncCommands;
use runtime::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    deployment::{QUEUE, envelope, eventually, job},
    working::{Starts, Works},
};

impl Works {
    async fn put_all_back(&self) {
        let now = SystemClock.now();
        put_back(&self.deployment.pool, &self.engine, QUEUE, &HashSet::new(), now).await.unwrap();
    }

    /// Whether a worker's lease holds nothing.
    async fn holds_nothing(&self, worker: queue::WorkerId) -> bool {
        self.deployment.queues.leased(worker).await.is_empty()
    }
}

#[tokio::test]
async fn a_lost_lease_stops_the_run_and_the_job_runs_once_elsewhere() {
    let works = Works::new().await;
    let (starts, stopped) = (Starts::default(), Arc::new(Notify::new()));
    let (counted, told) = (starts.clone(), Arc::clone(&stopped));
    let worker = works
        .worker(1, move |run| {
            counted.count(run.id);
            // Dropped with the run: tells that it was stopped.
            let guard = NotifyOnDrop(Arc::clone(&told));
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        })
        .await;
    let once = job("a");
    works.enqueue(std::slice::from_ref(&once)).await;
    starts.until(once.id, 1).await;
    let lease = works.deployment.queues.keys.lease(worker.id);
    works.deployment.queues.connection().del::<_, ()>(lease).await.unwrap();
    stopped.notified().await;
    // It would take the job again itself.
    worker.stop().await;

    let second = works.worker(1, |run| async move { Ok(json!(run.fence)) }).await;
    works.put_all_back().await;
    works.until_all(std::slice::from_ref(&once), "done").await;
    second.stop().await;
    assert_eq!(starts.of(once.id), 1);
    assert_eq!(works.deployment.row(once.id).await.attempts, 0);
}

/// Redis was flushed, the copy is back before the run has noticed, and the worker that stops the run takes the copy.
#[tokio::test]
async fn a_worker_that_lost_its_lease_runs_the_copy_at_once() {
    let works = Works::new().await;
    let starts = Starts::default();
    let counted = starts.clone();
    let worker = works
        .worker(1, move |run| {
            let first = counted.count(run.id) == 1;
            async move {
                if first {
                    return std::future::pending().await;
                }
                Ok(Value::Null)
            }
        })
        .await;
    let once = job("a");
    works.enqueue(std::slice::from_ref(&once)).await;
    starts.until(once.id, 1).await;
    let lease = works.deployment.queues.keys.lease(worker.id);
    works.deployment.queues.connection().del::<_, ()>(lease).await.unwrap();
    works.put_all_back().await;
    let flushed_at = tokio::time::Instant::now();
    works.until_all(std::slice::from_ref(&once), "done").await;
    assert!(flushed_at.elapsed() < LEASE, "it waited for {:?}", flushed_at.elapsed());
    worker.stop().await;
    assert_eq!(starts.of(once.id), 2);
}

struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn copies_pushed_again_and_again_run_once() {
    let works = Works::new().await;
    let (starts, go) = (Starts::default(), Arc::new(tokio::sync::Semaphore::new(0)));
    let jobs: Vec<_> = (0..40).map(|n| job(&format!("seller-{}", n % 5))).collect();
    let mut workers = Vec::new();
    for _ in 0..2 {
        let (starts, go) = (starts.clone(), Arc::clone(&go));
        let run = move |run: queue::Run| {
            starts.count(run.id);
            let go = Arc::clone(&go);
            async move {
                go.acquire().await.expect("never closed").forget();
                Ok(Value::Null)
            }
        };
        workers.push(works.worker(10, run).await);
    }
    works.enqueue(&jobs).await;
    // Before, while and after they run.
    for permits in [0, 10, 10, 40] {
        works.put_all_back().await;
        go.add_permits(permits);
    }
    works.until_all(&jobs, "done").await;
    works.put_all_back().await;
    let empty = async || works.engine.depth(QUEUE).await.unwrap().turns == 0;
    eventually("the copies are dropped", empty).await;
    for worker in workers {
        worker.stop().await;
    }
    works.nothing_is_leased().await;
    assert_eq!(starts.all(), jobs.iter().map(|job| (job.id, 1)).collect());
}

/// Redis did as it was told, but the worker never heard of it: a time-out, a connection cut in between.
#[tokio::test]
async fn what_a_claim_took_whose_answer_was_lost_comes_back_while_the_worker_lives() {
    let works = Works::new().await;
    let starts = Starts::default();
    let counted = starts.clone();
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let busy = works
        .worker(1, move |run| {
            counted.count(run.id);
            let held = Arc::clone(&held);
            async move {
                held.notified().await;
                Ok(Value::Null)
            }
        })
        .await;
    let (first, lost) = (job("a"), job("a"));
    works.enqueue(std::slice::from_ref(&first)).await;
    starts.until(first.id, 1).await;
    works.enqueue(std::slice::from_ref(&lost)).await;
    let claimed = works.engine.claim(QUEUE, busy.id, 1, &queue::KnownKinds::all()).await.unwrap();
    assert_eq!(crate::deployment::ids(&claimed.entries), [lost.id]);

    let other = works.worker(1, |_| async { Ok(json!("elsewhere")) }).await;
    works.until_all(std::slice::from_ref(&lost), "done").await;
    assert_eq!(works.deployment.row(lost.id).await.report, Some(json!("elsewhere")));
    assert_eq!(works.deployment.row(first.id).await.state, "running", "what it does know is left alone");
    gate.notify_one();
    busy.stop().await;
    other.stop().await;
    works.nothing_is_leased().await;
}

#[tokio::test]
async fn entries_that_are_no_jobs_are_dropped_and_the_ledger_puts_good_ones_in_their_place() {
    let works = Works::new().await;
    let good = job("a");
    let mut transaction = works.deployment.pool.begin().await.unwrap();
    queue::outbox::enqueue(&mut transaction, std::slice::from_ref(&good), SystemClock.now()).await.unwrap();
    transaction.commit().await.unwrap();
    sqlx::query("delete from outbox").execute(&works.deployment.pool).await.unwrap();

    // Jobs that the ledger does not know, an entry of a newer release, and one that is cut off.
    let unknown = envelope("a").encode();
    let mut newer = queue::envelope::Envelope { id: good.id, ..envelope("a") }.encode();
    let format = newer.len() - envelope("a").payload.len() - 1;
    newer[format] = 9;
    let first = envelope("a");
    works.deployment.queues.push(std::slice::from_ref(&first)).await;
    let lane = works.deployment.queues.keys.lane(&first.lane());
    let mut connection = works.deployment.queues.connection();
    connection.rpush::<_, _, ()>(lane, &[unknown, newer, b"cut".to_vec()]).await.unwrap();

    let worker = works.worker(4, |_| async { Ok(Value::Null) }).await;
    eventually("all were dropped", async || {
        works.engine.depth(QUEUE).await.unwrap().turns == 0 && works.holds_nothing(worker.id).await
    })
    .await;
    works.put_all_back().await;
    works.until_all(std::slice::from_ref(&good), "done").await;
    worker.stop().await;
    works.nothing_is_leased().await;
}

#[tokio::test]
async fn a_ledger_ahead_of_the_token_raises_it_and_the_job_runs() {
    let works = Works::new().await;
    let ahead = job("a");
    let far = SystemClock.now_ms() * 1_000 + 3_600_000_000;
    works.deployment.enqueue(std::slice::from_ref(&ahead)).await;
    // A run of the time before Redis lost its data, when its clock was an hour ahead.
    let worker = queue::WorkerId::new();
    works.deployment.ledger.begin(worker, far, &[ahead.id], SystemClock.now()).await.unwrap();
    let back = queue::ledger::Settled { id: ahead.id, fence: far, verdict: Verdict::HandBack };
    works.deployment.ledger.settle(&[back], SystemClock.now()).await.unwrap();

    let worker = works.worker(1, |_| async { Ok(Value::Null) }).await;
    works.enqueue(&[]).await;
    works.until_all(std::slice::from_ref(&ahead), "done").await;
    worker.stop().await;
    assert!(works.deployment.row(ahead.id).await.fence > far);
}

#[tokio::test]
async fn a_copy_that_comes_too_early_waits_for_its_moment() {
    let works = Works::new().await;
    let later: NewJob = job("a").due_at(SystemClock.now() + chrono::TimeDelta::hours(1));
    works.enqueue(std::slice::from_ref(&later)).await;
    let copy = queue::envelope::Envelope { id: later.id, ..envelope("a") };
    works.deployment.queues.push(&[copy]).await;
    let worker = works.worker(1, |_| async { Ok(Value::Null) }).await;
    eventually("the copy was put back", async || {
        works.engine.depth(QUEUE).await.unwrap().turns == 0 && works.holds_nothing(worker.id).await
    })
    .await;
    worker.stop().await;
    assert_eq!(works.deployment.row(later.id).await.state, "delayed");
}

#[tokio::test]
async fn a_worker_that_is_dropped_takes_no_more_jobs() {
    let works = Works::new().await;
    let dropped = works.worker(1, |_| async { Ok(json!("dropped")) }).await;
    dropped.abandon().await;
    let jobs: Vec<_> = (0..5).map(|_| job("a")).collect();
    works.enqueue(&jobs).await;
    let living = works.worker(1, |_| async { Ok(json!("living")) }).await;
    works.until_all(&jobs, "done").await;
    for job in &jobs {
        assert_eq!(works.deployment.row(job.id).await.crashes, 0);
    }
    living.stop().await;
}
