//! Why a job waits, told for each thing that can be in its way.

use queue::{
    Controls, JobId, State, WorkerId,
    explain::{ExplainError, Reason, explain},
    ledger::Settled,
    outbox::NewJob,
    retry::Verdict,
};

use crate::deployment::{Deployment, QUEUE, job, seconds, start};

async fn why(deployment: &Deployment, id: JobId) -> Vec<Reason> {
    let mut connection = deployment.pool.acquire().await.unwrap();
    explain(&mut connection, deployment.engine(), id).await.unwrap()
}

/// Enqueues and relays a job while another worker is alive.
async fn ready(deployment: &Deployment, group: &str) -> NewJob {
    deployment.engine().heartbeat(QUEUE, WorkerId::new()).await.unwrap();
    let job = job(group);
    deployment.enqueue(std::slice::from_ref(&job)).await;
    deployment.relay().await;
    job
}

fn turn(ahead_in_group: u64, groups_ahead: u64) -> Reason {
    Reason::Turn { ahead_in_group: Some(ahead_in_group), groups_ahead: Some(groups_ahead), other_rings: 0 }
}

#[tokio::test]
async fn a_ready_job_waits_for_its_turn() {
    let deployment = Deployment::new().await;
    let first = ready(&deployment, "a").await;
    let behind = ready(&deployment, "a").await;
    let other = ready(&deployment, "b").await;
    assert_eq!(why(&deployment, first.id).await, [turn(0, 0)]);
    assert_eq!(why(&deployment, behind.id).await, [turn(1, 0)]);
    assert_eq!(why(&deployment, other.id).await, [turn(0, 1)]);
}

#[tokio::test]
async fn what_people_have_paused_or_limited_is_named() {
    let deployment = Deployment::new().await;
    let running = ready(&deployment, "a").await;
    let waiting = ready(&deployment, "a").await;
    let controls = Controls {
        paused: true,
        paused_kinds: ["count_stock".to_owned()].into(),
        paused_groups: ["a".to_owned()].into(),
        ..Controls::default()
    };
    deployment.engine().control(QUEUE, &controls).await.unwrap();
    assert_eq!(
        why(&deployment, waiting.id).await,
        [Reason::QueuePaused, Reason::KindPaused, Reason::GroupPaused, turn(1, 0)]
    );

    let limits = Controls {
        kind_limits: [("count_stock".to_owned(), 1)].into(),
        each_limits: [("count_stock".to_owned(), 1)].into(),
        group_limit: Some(1),
        ..Controls::default()
    };
    deployment.engine().control(QUEUE, &limits).await.unwrap();
    assert_eq!(deployment.queues.claim(WorkerId::new(), 1).await, [running.id]);
    let (running, most) = (1, 1);
    assert_eq!(
        why(&deployment, waiting.id).await,
        [
            Reason::KindAtLimit { running, most },
            Reason::GroupAtLimit { running, most },
            Reason::GroupOfKindAtLimit { running, most },
            Reason::Turn { ahead_in_group: Some(0), groups_ahead: None, other_rings: 0 },
        ]
    );
}

#[tokio::test]
async fn a_running_job_names_its_worker_and_its_lease() {
    let deployment = Deployment::new().await;
    let job = ready(&deployment, "a").await;
    let worker = WorkerId::new();
    let claimed = deployment.engine().claim(QUEUE, worker, 1, &queue::KnownKinds::all()).await.unwrap();
    deployment.ledger.begin(worker, claimed.fence, &[job.id], start()).await.unwrap();
    let running = |lease_until| [Reason::Running { worker, since: Some(start()), lease_until }];
    assert_eq!(why(&deployment, job.id).await, running(Some(start() + queue::lease::LEASE)));
    deployment.queues.finish(worker, &[job.id]).await;
    assert_eq!(why(&deployment, job.id).await, running(None), "it is about to run elsewhere");

    let verdict = Verdict::Done { report: serde_json::Value::Null };
    let settled = Settled { id: job.id, fence: claimed.fence, verdict };
    deployment.ledger.settle(&[settled], start() + seconds(1)).await.unwrap();
    assert_eq!(
        why(&deployment, job.id).await,
        [Reason::Ended { state: State::Done, at: Some(start() + seconds(1)) }]
    );
}

#[tokio::test]
async fn what_is_not_in_redis_or_has_no_worker_is_told() {
    let deployment = Deployment::new().await;
    let (now, later) = (job("a"), job("b").due_at(start() + seconds(60)));
    deployment.enqueue(&[now.clone(), later.clone()]).await;
    assert_eq!(why(&deployment, now.id).await, [Reason::InOutbox]);
    assert_eq!(
        why(&deployment, later.id).await,
        [Reason::Delayed { until: start() + seconds(60), waits_for: None }]
    );
    deployment.relay().await;
    deployment.queues.flush().await;
    assert_eq!(why(&deployment, now.id).await, [Reason::QueueClosed, Reason::NoWorker, Reason::NotInRedis]);

    let unknown = JobId::new();
    let mut connection = deployment.pool.acquire().await.unwrap();
    let error = explain(&mut connection, deployment.engine(), unknown).await.expect_err("no such job");
    assert!(matches!(error, ExplainError::Unknown(id) if id == unknown), "{error}");
}
