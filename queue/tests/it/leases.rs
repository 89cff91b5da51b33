//! Leases: what a killed worker held comes back, what a living one holds does not.

use std::collections::BTreeSet;

use queue::{
    JobId, KnownKinds, WorkerId,
    lease::{Ended, LEASE, Rescued},
};

use crate::deployment::{QUEUE, Queues, both, envelope, envelopes, ids_of, seconds, start};

both! {
    async fn a_killed_workers_jobs_come_back_after_the_lease_and_not_before(queues) {
        let jobs = envelopes("a", 2);
        queues.push(&jobs).await;
        let killed = WorkerId::new();
        assert_eq!(queues.claim(killed, 5).await, ids_of(&jobs));

        queues.clock.advance(LEASE);
        assert_eq!(queues.engine.rescue(QUEUE).await.unwrap(), None, "the lease has not ended yet");
        assert_eq!(queues.claim(WorkerId::new(), 5).await, []);

        queues.clock.advance(std::time::Duration::from_millis(1));
        let rescued = Rescued { worker: killed, jobs: 2, last_seen_at: start() };
        assert_eq!(queues.engine.rescue(QUEUE).await.unwrap(), Some(rescued));
        assert_eq!(queues.engine.rescue(QUEUE).await.unwrap(), None);
        let back: BTreeSet<_> = queues.claim(WorkerId::new(), 5).await.into_iter().collect();
        assert_eq!(back, ids_of(&jobs).into_iter().collect());
    }

    async fn a_heartbeat_keeps_the_lease(queues) {
        let job = envelope("a");
        queues.push(std::slice::from_ref(&job)).await;
        let worker = WorkerId::new();
        queues.claim(worker, 1).await;
        for _ in 0..4 {
            queues.clock.advance(LEASE);
            assert!(queues.engine.heartbeat(QUEUE, worker).await.unwrap());
            assert_eq!(queues.engine.rescue(QUEUE).await.unwrap(), None);
        }
        let held = [(job.id, worker)];
        assert_eq!(queues.engine.still_leased(QUEUE, &held).await.unwrap(), [job.id].into());
    }

    async fn a_worker_that_lost_its_lease_learns_it(queues) {
        let job = envelope("a");
        queues.push(std::slice::from_ref(&job)).await;
        let slow = WorkerId::new();
        queues.claim(slow, 1).await;
        queues.clock.advance(LEASE + LEASE);
        let held = [(job.id, slow)];
        assert_eq!(queues.engine.still_leased(QUEUE, &held).await.unwrap(), [].into(), "ended, not yet rescued");

        queues.engine.rescue(QUEUE).await.unwrap();
        assert!(!queues.engine.heartbeat(QUEUE, slow).await.unwrap(), "it was off the list");
        assert_eq!(
            queues.engine.still_leased(QUEUE, &held).await.unwrap(),
            [].into(),
            "a renewal brings nothing back"
        );

        let ended = Ended { finished: vec![job.id], ..Ended::default() };
        assert_eq!(queues.engine.end_leases(QUEUE, slow, &ended).await.unwrap(), 1, "it no longer held the job");
        assert_eq!(queues.claim(WorkerId::new(), 1).await, [job.id], "what it says about it changes nothing");
    }

    async fn one_sweep_moves_500_and_all_come_back_in_the_end(queues) {
        let jobs = envelopes("a", 1_300);
        queues.push(&jobs).await;
        let killed = WorkerId::new();
        while !queues.claim(killed, 256).await.is_empty() {}
        queues.clock.advance(LEASE + LEASE);

        let mut sweeps = Vec::new();
        while let Some(rescued) = queues.engine.rescue(QUEUE).await.unwrap() {
            assert_eq!(rescued.worker, killed);
            sweeps.push(rescued.jobs);
        }
        assert_eq!(sweeps, [500, 500, 300]);
        assert_eq!(queues.leased(killed).await, BTreeSet::new());
        let mut back = BTreeSet::new();
        loop {
            let some = queues.claim(WorkerId::new(), 256).await;
            if some.is_empty() {
                break;
            }
            back.extend(some);
        }
        assert_eq!(back, ids_of(&jobs).into_iter().collect());
    }

    async fn leases_end_in_each_way_at_once_and_beyond_one_calls_limit(queues) {
        let jobs = envelopes("a", 1_200);
        queues.push(&jobs).await;
        let worker = WorkerId::new();
        while !queues.claim(worker, 256).await.is_empty() {}
        let ids = ids_of(&jobs);
        let stranger = JobId::new();
        let due_at = queues.clock_in(30);
        let ended = Ended {
            finished: ids[..700].iter().copied().chain([stranger]).collect(),
            delayed: ids[700..1_100].iter().map(|id| (*id, due_at)).collect(),
            handed_back: ids[1_100..].to_vec(),
        };
        assert_eq!(
            queues.engine.end_leases(QUEUE, worker, &ended).await.unwrap(),
            1,
            "the stranger was not held"
        );
        assert_eq!(queues.leased(worker).await, BTreeSet::new());
        assert_eq!(queues.claim(WorkerId::new(), 256).await, ids[1_100..]);

        queues.clock.set(due_at);
        assert_eq!(queues.engine.promote(QUEUE).await.unwrap().moved, 400);
        let mut late = BTreeSet::new();
        for _ in 0..2 {
            late.extend(queues.claim(WorkerId::new(), 256).await);
        }
        assert_eq!(late, ids[700..1_100].iter().copied().collect());
    }

    async fn the_token_of_a_flushed_redis_is_raised_above_what_the_ledger_knows(queues) {
        queues.push(&envelopes("a", 2)).await;
        let worker = WorkerId::new();
        let before = queues.engine.claim(QUEUE, worker, 1, &KnownKinds::all()).await.unwrap().fence;

        queues.flush().await;
        queues.open().await;
        queues.clock.set(crate::deployment::start() - seconds(86_400));
        queues.push(&envelopes("a", 3)).await;
        let low = queues.engine.claim(QUEUE, worker, 1, &KnownKinds::all()).await.unwrap().fence;
        assert!(low < before, "the clock went back, and Redis knows no better");

        queues.engine.raise_fence(QUEUE, before).await.unwrap();
        let raised = queues.engine.claim(QUEUE, worker, 1, &KnownKinds::all()).await.unwrap().fence;
        assert_eq!(raised, before + 1);
        queues.engine.raise_fence(QUEUE, low).await.unwrap();
        assert_eq!(queues.engine.claim(QUEUE, worker, 1, &KnownKinds::all()).await.unwrap().fence, before + 2, "never lowered");
    }
}

#[tokio::test]
async fn the_leases_of_several_lost_workers_all_end() {
    let queues = Queues::new().await;
    queues.push(&envelopes("a", 3)).await;
    let workers: BTreeSet<_> = (0..3).map(|_| WorkerId::new()).collect();
    for worker in &workers {
        queues.claim(*worker, 1).await;
    }
    queues.clock.advance(LEASE + LEASE);
    let mut lost = BTreeSet::new();
    while let Some(rescued) = queues.engine.rescue(QUEUE).await.unwrap() {
        assert_eq!(rescued.jobs, 1);
        lost.insert(rescued.worker);
    }
    assert_eq!(lost, workers);
    assert_eq!(queues.workers().await, []);
}

#[tokio::test]
async fn a_worker_resigns_when_it_holds_nothing_and_not_before() {
    let queues = Queues::new().await;
    let job = envelope("a");
    queues.push(std::slice::from_ref(&job)).await;
    let worker = WorkerId::new();
    queues.claim(worker, 1).await;
    assert!(!queues.engine.resign(QUEUE, worker).await.unwrap());
    assert_eq!(queues.workers().await, [worker], "its lease must run out and be rescued");

    let ended = Ended { finished: vec![job.id], ..Ended::default() };
    assert_eq!(queues.engine.end_leases(QUEUE, worker, &ended).await.unwrap(), 0);
    assert!(queues.engine.resign(QUEUE, worker).await.unwrap());
    assert_eq!(queues.workers().await, []);
}
