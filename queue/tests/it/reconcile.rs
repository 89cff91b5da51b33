//! Reconcile: whatever Redis lost is put back, and only that.

use std::collections::{BTreeSet, HashSet};

use queue::{
    JobId, WorkerId,
    ledger::{Begun, Settled},
    reconcile::put_back,
    retry::Verdict,
};
use serde_json::Value;

use crate::deployment::{Deployment, QUEUE, Queues, envelopes, ids_of, job, seconds, start};

async fn ready_after_all(queues: &Queues) -> BTreeSet<JobId> {
    let mut ids = BTreeSet::new();
    loop {
        let some = queues.claim(WorkerId::new(), 256).await;
        if some.is_empty() {
            return ids;
        }
        ids.extend(some);
    }
}

#[tokio::test]
async fn the_census_finds_what_is_ready_delayed_and_leased() {
    let queues = Queues::new().await;
    let (ready, delayed, leased) = (envelopes("a", 1_203), envelopes("b", 1_100), envelopes("c", 40));
    queues.push(&leased).await;
    queues.claim(WorkerId::new(), 40).await;
    queues.push(&ready).await;
    let entries: Vec<_> = delayed.iter().map(|job| (Some(start() + seconds(9)), job.clone())).collect();
    queues.engine.push(QUEUE, &entries).await.unwrap();

    let all: HashSet<_> = [ids_of(&ready), ids_of(&delayed), ids_of(&leased)].concat().into_iter().collect();
    assert_eq!(queues.engine.census(QUEUE).await.unwrap(), all);
}

#[tokio::test]
async fn the_census_misses_nothing_that_moves_while_it_counts() {
    let queues = Queues::new().await;
    let jobs: Vec<_> = (0..5).flat_map(|group| envelopes(&format!("seller-{group}"), 400)).collect();
    let entries: Vec<_> = jobs
        .iter()
        .enumerate()
        .map(|(n, job)| ((n % 2 == 0).then(|| start() + seconds(1)), job.clone()))
        .collect();
    queues.engine.push(QUEUE, &entries).await.unwrap();
    queues.clock.set(start() + seconds(1));

    // Delayed to ready, ready to leased: the directions in which jobs move by themselves.
    let mover = async {
        loop {
            let promoted = queues.engine.promote(QUEUE).await.unwrap().moved;
            let mut claimed = 0;
            for _ in 0..10 {
                claimed += queues.claim(WorkerId::new(), 20).await.len();
            }
            if promoted + claimed == 0 {
                break;
            }
        }
    };
    let counter = async {
        let mut missed = BTreeSet::new();
        for _ in 0..30 {
            let census = queues.engine.census(QUEUE).await.unwrap();
            missed.extend(ids_of(&jobs).into_iter().filter(|id| !census.contains(id)));
        }
        missed
    };
    let ((), missed) = tokio::join!(mover, counter);
    assert_eq!(missed, BTreeSet::new());
}

#[tokio::test]
async fn after_a_flush_all_that_is_unfinished_comes_back() {
    let deployment = Deployment::new().await;
    let done = deployment.begun(WorkerId::new(), 1).await;
    let settled = Settled { id: done, fence: 1, verdict: Verdict::Done { report: Value::Null } };
    deployment.ledger.settle(&[settled], start()).await.unwrap();
    let ready: Vec<_> = (0..1_100).map(|_| job("a")).collect();
    let delayed = job("a").due_at(start() + seconds(60));
    deployment.enqueue(&[&ready[..], std::slice::from_ref(&delayed)].concat()).await;
    deployment.engine().mark_epoch(QUEUE).await.unwrap();
    while deployment.relay().await > 0 {}
    let running = deployment.begun(WorkerId::new(), 1).await;
    sqlx::query("delete from outbox").execute(&deployment.pool).await.unwrap();
    assert!(deployment.engine().epoch(QUEUE).await.unwrap().is_some());

    deployment.queues.flush().await;
    assert_eq!(deployment.engine().epoch(QUEUE).await.unwrap(), None, "the mark went with the data");
    deployment.queues.open().await;
    let later = start() + seconds(1);
    let count = put_back(&deployment.pool, deployment.engine(), QUEUE, &HashSet::new(), later).await.unwrap();
    assert_eq!(count, 1_102);

    let mut expected: BTreeSet<_> = ready.iter().map(|job| job.id).collect();
    expected.insert(running);
    assert_eq!(ready_after_all(&deployment.queues).await, expected);
    let promoted = deployment.engine().promote(QUEUE).await.unwrap();
    assert_eq!((promoted.moved, promoted.next_due_at), (0, delayed.due_at), "delayed as before");
}

#[tokio::test]
async fn otherwise_only_the_difference_is_put_back() {
    let deployment = Deployment::new().await;
    let jobs = [job("a"), job("b"), job("c")];
    deployment.enqueue(&jobs).await;
    deployment.relay().await;
    let lost: Vec<_> = deployment.queues.claim(WorkerId::new(), 1).await;
    deployment.engine().end_leases(QUEUE, deployment.queues.workers().await[0], &ended(&lost)).await.unwrap();
    let still_in_the_outbox = job("d");
    deployment.enqueue(&[still_in_the_outbox]).await;
    deployment.queues.clock.set(start() + seconds(60));
    let just_touched = job("e");
    deployment.enqueue(&[just_touched]).await;
    sqlx::query("delete from outbox where job_id = (select id from jobs where group_name = 'e')")
        .execute(&deployment.pool)
        .await
        .unwrap();

    let census = deployment.engine().census(QUEUE).await.unwrap();
    let before = start() + seconds(30);
    assert_eq!(put_back(&deployment.pool, deployment.engine(), QUEUE, &census, before).await.unwrap(), 1);
    let expected: BTreeSet<_> = jobs.iter().map(|job| job.id).collect();
    assert_eq!(ready_after_all(&deployment.queues).await, expected);
    let census = deployment.engine().census(QUEUE).await.unwrap();
    assert_eq!(put_back(&deployment.pool, deployment.engine(), QUEUE, &census, before).await.unwrap(), 0);
}

fn ended(ids: &[JobId]) -> queue::lease::Ended {
    queue::lease::Ended { finished: ids.to_vec(), ..queue::lease::Ended::default() }
}

#[tokio::test]
async fn a_job_put_back_though_it_runs_is_not_run_twice() {
    let deployment = Deployment::new().await;
    let once = job("a");
    deployment.enqueue(std::slice::from_ref(&once)).await;
    deployment.relay().await;
    let worker = WorkerId::new();
    let claimed = deployment.engine().claim(QUEUE, worker, 1, &queue::KnownKinds::all()).await.unwrap();
    deployment.ledger.begin(worker, claimed.fence, &[once.id], start()).await.unwrap();
    let later = start() + seconds(1);
    put_back(&deployment.pool, deployment.engine(), QUEUE, &HashSet::new(), later).await.unwrap();

    let other = WorkerId::new();
    let copy = deployment.engine().claim(QUEUE, other, 1, &queue::KnownKinds::all()).await.unwrap();
    let begun = deployment.ledger.begin(other, copy.fence, &[once.id], later).await.unwrap();
    assert_eq!(begun[&once.id], Begun::Running(worker));
    let held = [(once.id, worker)];
    assert_eq!(deployment.engine().still_leased(QUEUE, &held).await.unwrap(), [once.id].into());
}
