//! A whole worker over real servers: each job ends once, whatever its runs do, and stopping leaves nothing behind.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::TimeDelta;
use queue::Failure;
use runtime::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use tokio::{sync::Notify, time::Instant};

use crate::{
    deployment::{eventually, job},
    working::{Starts, Works},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_jobs_run_once_each() {
    let works = Works::new().await;
    let jobs: Vec<_> = (0..1_000).map(|n| job(&format!("seller-{}", n % 50))).collect();
    let starts = Starts::default();
    let (one, other) = (starts.clone(), starts.clone());
    let workers = [
        works
            .worker(20, move |run| {
                let starts = one.clone();
                async move { Ok(json!(starts.count(run.id))) }
            })
            .await,
        works
            .worker(20, move |run| {
                let starts = other.clone();
                async move { Ok(json!(starts.count(run.id))) }
            })
            .await,
    ];
    works.enqueue(&jobs).await;
    works.until_all(&jobs, "done").await;
    for worker in workers {
        worker.stop().await;
    }
    works.nothing_is_leased().await;
    assert_eq!(starts.all(), jobs.iter().map(|job| (job.id, 1)).collect::<BTreeMap<_, _>>());
    assert_eq!(works.deployment.row(jobs[0].id).await.report, Some(json!(1)));
}

#[tokio::test]
async fn a_panic_is_an_attempt_and_a_snooze_is_none() {
    let works = Works::new().await;
    let jobs = [job("panics"), job("snoozes"), job("rejects"), job("fails")];
    let [panics, snoozes, rejects, fails] = jobs.each_ref().map(|job| job.id);
    let starts = Starts::default();
    let counted = starts.clone();
    let worker = works
        .worker(4, move |run| {
            let start = counted.count(run.id);
            async move {
                match start {
                    1 if run.id == panics => panic!("the first run panics"),
                    1 | 2 if run.id == snoozes => {
                        Err(Failure::snooze(SystemClock.now() + TimeDelta::milliseconds(30), "searchOrders"))
                    }
                    _ if run.id == rejects => Err(Failure::reject("no such order")),
                    _ if run.id == fails => Err(Failure::retry("Amazon answered 500")),
                    _ => Ok(json!({"attempt": run.attempt})),
                }
            }
        })
        .await;
    works.enqueue(&jobs).await;
    eventually("all have ended", async || {
        works.deployment.ids_in("done").await == [panics, snoozes].into()
            && works.deployment.ids_in("dead").await == [rejects, fails].into()
    })
    .await;
    worker.stop().await;

    let row = works.deployment.row(panics).await;
    assert_eq!((row.attempts, row.report), (1, Some(json!({"attempt": 2}))));
    assert!(row.last_error.expect("it failed once").contains("panicked"));
    let row = works.deployment.row(snoozes).await;
    assert_eq!((row.attempts, row.snoozes, row.report), (0, 2, Some(json!({"attempt": 1}))));
    assert_eq!(works.deployment.failures(rejects).await, [("reject".to_owned(), "no such order".to_owned())]);
    let retries = works.deployment.failures(fails).await;
    let decisions: Vec<_> = retries.iter().map(|(decision, _)| decision.as_str()).collect();
    assert_eq!((starts.of(fails), decisions), (3, vec!["retry", "retry", "reject"]));
}

#[tokio::test]
async fn never_more_run_at_once_than_there_are_slots() {
    let works = Works::new().await;
    let jobs: Vec<_> = (0..40).map(|_| job("a")).collect();
    let slots = Arc::new(tokio::sync::Semaphore::new(3));
    let worker = works
        .worker(3, move |_| {
            let slots = Arc::clone(&slots);
            async move {
                let _taken = slots.try_acquire_owned().map_err(Failure::reject)?;
                tokio::task::yield_now().await;
                Ok(Value::Null)
            }
        })
        .await;
    works.enqueue(&jobs).await;
    works.until_all(&jobs, "done").await;
    worker.stop().await;
}

#[tokio::test]
async fn a_soft_stop_finishes_what_runs_and_takes_nothing_new() {
    let works = Works::new().await;
    let (starts, go) = (Starts::default(), Arc::new(Notify::new()));
    let (counted, gate) = (starts.clone(), Arc::clone(&go));
    let worker = works
        .worker(1, move |run| {
            counted.count(run.id);
            let gate = Arc::clone(&gate);
            async move {
                gate.notified().await;
                Ok(json!("finished"))
            }
        })
        .await;
    let (first, second) = (job("a"), job("a"));
    works.enqueue(&[first.clone(), second.clone()]).await;
    starts.until(first.id, 1).await;
    let stopping = worker.shutdown.clone();
    stopping.soft.cancel();
    go.notify_one();
    worker.stop().await;

    assert_eq!(works.deployment.row(first.id).await.report, Some(json!("finished")));
    assert_eq!(works.deployment.row(second.id).await.state, "ready");
    assert_eq!(starts.of(second.id), 0);
    works.nothing_is_leased().await;
}

#[tokio::test]
async fn a_hard_stop_hands_back_what_runs_and_counts_nothing() {
    let works = Works::new().await;
    let starts = Starts::default();
    let counted = starts.clone();
    let jobs: Vec<_> = (0..5).map(|_| job("a")).collect();
    let worker = works
        .worker(5, move |run| {
            counted.count(run.id);
            std::future::pending()
        })
        .await;
    works.enqueue(&jobs).await;
    for job in &jobs {
        starts.until(job.id, 1).await;
    }
    worker.stop_hard().await;
    works.nothing_is_leased().await;
    for job in &jobs {
        let row = works.deployment.row(job.id).await;
        assert_eq!((row.state.as_str(), row.attempts, row.crashes, row.snoozes), ("ready", 0, 0, 0));
    }

    let second = works.worker(5, |run| async move { Ok(json!(run.attempt)) }).await;
    works.until_all(&jobs, "done").await;
    second.stop().await;
}

#[tokio::test]
async fn an_idle_worker_is_woken_by_a_push() {
    let works = Works::new().await;
    let starts = Starts::default();
    let counted = starts.clone();
    let worker = works
        .worker(1, move |run| {
            counted.count(run.id);
            async { Ok(Value::Null) }
        })
        .await;
    // Each time the worker has just gone idle: without a message it would look again after two seconds only.
    for _ in 0..3 {
        let next = job("a");
        let pushed_at = Instant::now();
        works.enqueue(std::slice::from_ref(&next)).await;
        starts.until(next.id, 1).await;
        let took = pushed_at.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        let done = async || works.deployment.row(next.id).await.state == "done";
        eventually("it is done, and the worker idle again", done).await;
    }
    worker.stop().await;
}

#[tokio::test]
async fn the_jobs_of_a_group_begin_in_the_order_of_their_birth() {
    let works = Works::new().await;
    let jobs: Vec<_> = (0..60).map(|_| job("a")).collect();
    works.enqueue(&jobs).await;
    let (sender, mut begun) = tokio::sync::mpsc::unbounded_channel();
    // One claim takes all, and this test has one thread: they begin as the claim hands them out.
    let worker = works
        .worker(64, move |run| {
            let told = sender.send(run.id);
            async move {
                told.expect("the test listens");
                Ok(Value::Null)
            }
        })
        .await;
    works.until_all(&jobs, "done").await;
    worker.stop().await;
    let mut order = Vec::new();
    begun.recv_many(&mut order, 100).await;
    assert_eq!(order, jobs.iter().map(|job| job.id).collect::<Vec<_>>());
}
