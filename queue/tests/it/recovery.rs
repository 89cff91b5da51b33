//! How long work was away whose worker was lost, and what was delivered twice, is noted where it is noticed.

use chrono::DateTime;
use queue::{
    WorkerId,
    lease::LEASE,
    recovery::{self, Overtaken},
    workers,
};

use crate::deployment::{Deployment, QUEUE, job, seconds, start};

#[tokio::test]
async fn work_was_away_from_the_last_sign_of_life_to_the_next_run() {
    let deployment = Deployment::new().await;
    let (lost, next) = (WorkerId::new(), WorkerId::new());
    let once = job("a");
    deployment.enqueue(std::slice::from_ref(&once)).await;
    deployment.relay().await;
    deployment.queues.claim(lost, 1).await;
    deployment.ledger.begin(lost, 1, &[once.id], start()).await.unwrap();
    deployment.ledger.introduce(lost, QUEUE, 4, start()).await.unwrap();
    deployment.ledger.introduce(lost, QUEUE, 9, start() + seconds(1)).await.unwrap();
    deployment.queues.clock.set(start() + seconds(3));
    assert!(deployment.engine().heartbeat(QUEUE, lost).await.unwrap());
    deployment.queues.clock.advance(LEASE + std::time::Duration::from_millis(1));
    let rescued = deployment.engine().rescue(QUEUE).await.unwrap().expect("its lease has ended");
    recovery::note_lost(&deployment.pool, QUEUE, &rescued, deployment.now()).await.unwrap();
    let back_at = start() + seconds(15);
    deployment.ledger.take_over(next, 2, &[(once.id, lost, 3)], None, back_at).await.unwrap();

    let mut connection = deployment.pool.acquire().await.unwrap();
    let back = recovery::comebacks(&mut connection, start(), 10).await.unwrap();
    assert_eq!(
        back.iter().map(|back| (back.job, back.worker, back.away())).collect::<Vec<_>>(),
        [(once.id, lost, Some(seconds(12)))]
    );
    assert_eq!(recovery::comebacks(&mut connection, back_at + seconds(1), 10).await.unwrap(), []);
    let workers = recovery::lost_workers(&mut connection, start(), 10).await.unwrap();
    let seen: Vec<_> = workers.iter().map(|worker| (worker.id, worker.jobs, worker.last_seen_at)).collect();
    assert_eq!(seen, [(lost, 1, start() + seconds(3))]);
    assert_eq!(workers[0].version.as_deref(), Some(workers::VERSION));
    let known = workers::known(&mut connection, &[lost, next]).await.unwrap();
    let seen: Vec<_> = known.iter().map(|worker| (worker.id, worker.slots, worker.started_at)).collect();
    assert_eq!(seen, [(lost, 4, start())], "the first word counts");
}

#[tokio::test]
async fn only_runs_that_another_one_overtook_were_delivered_twice() {
    let deployment = Deployment::new().await;
    let (one, other) = (WorkerId::new(), WorkerId::new());
    let (twice, once) = (deployment.begun(one, 1).await, deployment.begun(one, 1).await);
    deployment.ledger.take_over(other, 2, &[(twice, one, 3)], None, start()).await.unwrap();
    let refused = [
        Overtaken { job: twice, fence: 1, finished: true },
        // Ended by a person, say: no other run began.
        Overtaken { job: once, fence: 1, finished: true },
    ];
    for _ in 0..2 {
        deployment.ledger.note_overtaken(one, &refused, start()).await.unwrap();
    }
    let mut connection = deployment.pool.acquire().await.unwrap();
    let noted = recovery::overtaken(&mut connection, DateTime::UNIX_EPOCH, 10).await.unwrap();
    let seen: Vec<_> =
        noted.iter().map(|run| (run.job, run.kind.as_str(), run.worker, run.finished)).collect();
    assert_eq!(seen, [(twice, "count_stock", one, true)]);

    recovery::prune(&deployment.pool, start() + seconds(93 * 86_400)).await.unwrap();
    assert_eq!(recovery::overtaken(&mut connection, DateTime::UNIX_EPOCH, 10).await.unwrap(), []);
}
