//! Deadlines: what is watched, what is written once, what follows from it, and what is found after the fact.

use std::time::Duration;

use chrono::{DateTime, Utc};
use queue::{
    WorkerId, dead,
    deadline::{Level, RunTime},
    escalations,
    ledger::Begun,
    outbox::NewJob,
    retry::Verdict,
    run_times::run_time,
    watch::seconds_left,
};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    deployment::{Deployment, QUEUE, job, seconds, start},
    watching::{CATALOG, POLICY, count_budget, due_by},
};

fn at(second: i64, level: Level) -> (DateTime<Utc>, Level) {
    (start() + seconds(second), level)
}

fn retry(second: i64) -> Verdict {
    Verdict::Retry { due_at: start() + seconds(second), error: "Amazon answered 500".to_owned() }
}

#[tokio::test]
async fn each_level_is_written_once_when_it_is_reached() {
    let deployment = Deployment::new().await;
    let id = deployment.born().await;
    for second in (0..1_200).step_by(5) {
        deployment.at(second);
        deployment.pass().await;
        assert_eq!(deployment.pass().await, [], "the second pass of second {second}");
    }
    assert_eq!(
        deployment.escalations(id).await,
        [
            at(500, Level::Half),
            at(750, Level::ThreeQuarters),
            at(900, Level::NineTenths),
            at(1_000, Level::MustStartNow),
            at(1_055, Level::CannotFit),
            at(1_065, Level::Missed),
        ]
    );
    assert_eq!(deployment.watched().await, [id], "it is still not done");
}

#[tokio::test]
async fn schedulers_that_look_at_once_write_one_row() {
    let deployment = Deployment::new().await;
    deployment.ran_before(100, seconds(10)).await;
    let jobs: Vec<_> = (0..700).map(|_| due_by(1_060)).collect();
    deployment.enqueue(&jobs).await;
    deployment.at(950);
    let passes = futures::future::join_all((0..4).map(|_| deployment.pass())).await;
    let mut told: Vec<_> = passes.into_iter().flatten().collect();
    // Rows that one skipped because another held them are looked at by the next pass.
    told.extend(deployment.pass().await);
    told.sort_unstable();
    let mut all: Vec<_> = jobs.iter().map(|job| (job.id, Level::NineTenths)).collect();
    all.sort_unstable();
    assert_eq!(told, all, "each is told by one of them");
    assert_eq!(deployment.rows_left().await, (700, 700));
}

#[tokio::test]
async fn a_job_that_is_done_in_time_is_left_alone_and_forgotten() {
    let deployment = Deployment::new().await;
    let id = deployment.born().await;
    assert_eq!(deployment.watched().await, [id]);
    deployment.begin_at(400, id, 1).await;
    assert_eq!(deployment.pass().await, []);
    deployment.settle_at(1_060, id, 1, Verdict::Done { report: Value::Null }).await;
    deployment.at(2_000);
    assert_eq!(deployment.pass().await, []);
    assert_eq!(deployment.rows_left().await, (0, 0));
}

#[tokio::test]
async fn jobs_without_a_deadline_are_not_watched() {
    let deployment = Deployment::new().await;
    deployment.begun(WorkerId::new(), 1).await;
    assert_eq!(deployment.rows_left().await, (0, 0));
}

#[tokio::test]
async fn a_job_that_cannot_fit_is_told_at_its_birth() {
    let deployment = Deployment::new().await;
    // Nothing has run yet, so a run counts as the minute that it may take.
    let (hopeless, tight, roomy) = (due_by(59), due_by(120), due_by(3_600));
    deployment.enqueue(&[hopeless.clone(), tight.clone(), roomy.clone()]).await;
    let mut told = vec![(hopeless.id, Level::CannotFit), (tight.id, Level::MustStartNow)];
    told.sort_unstable();
    assert_eq!(deployment.pass().await, told);
    assert_eq!(deployment.priority_and_outbox(hopeless.id).await.0, "high");
    assert_eq!(deployment.priority_and_outbox(roomy.id).await.0, "normal");
    assert_eq!(deployment.watched().await, [hopeless.id, tight.id, roomy.id], "the most urgent first");
}

#[tokio::test]
async fn from_nine_tenths_on_a_job_goes_before_others_and_still_runs_once() {
    let deployment = Deployment::new().await;
    let id = deployment.born().await;
    deployment.at(899);
    deployment.pass().await;
    assert_eq!(deployment.priority_and_outbox(id).await, ("normal".to_owned(), false));
    deployment.at(900);
    deployment.pass().await;
    assert_eq!(deployment.priority_and_outbox(id).await, ("high".to_owned(), true));
    assert_eq!(deployment.relay().await, 1);

    let worker = WorkerId::new();
    let mut copies = deployment.queues.claim(worker, 10).await;
    copies.dedup();
    assert_eq!(copies, [id]);
    deployment.begin_at(901, id, 7).await;
    let again = deployment.ledger.begin(WorkerId::new(), 8, &[id], deployment.now()).await.unwrap();
    assert!(matches!(again[&id], Begun::Running(_)), "{again:?}");
    deployment.settle_at(950, id, 7, Verdict::Done { report: Value::Null }).await;
    assert_eq!(deployment.pass().await, []);
    assert_eq!(deployment.rows_left().await.0, 0);
}

#[tokio::test]
async fn a_job_that_ran_while_its_time_went_by_goes_before_others_when_it_waits_again() {
    let deployment = Deployment::new().await;
    let id = deployment.born().await;
    deployment.begin_at(800, id, 1).await;
    deployment.at(940);
    assert_eq!(deployment.pass().await, [], "it runs");
    deployment.settle_at(950, id, 1, retry(960)).await;
    assert_eq!(deployment.pass().await, [(id, Level::NineTenths)]);
    assert_eq!(deployment.priority_and_outbox(id).await, ("high".to_owned(), true));
    assert_eq!(deployment.row(id).await.state, "delayed", "its delay is kept");
}

#[tokio::test]
async fn a_next_attempt_that_would_come_too_late_comes_now_and_that_once() {
    let deployment = Deployment::new().await;
    let id = deployment.born().await;
    deployment.begin_at(100, id, 1).await;
    deployment.settle_at(200, id, 1, retry(1_055)).await;
    assert_eq!(deployment.pass().await, [(id, Level::MustStartNow)]);
    let row = deployment.row(id).await;
    assert_eq!((row.state.as_str(), row.due_at), ("ready", deployment.now()));
    assert_eq!((row.attempts, row.waits_for), (1, None));
    assert_eq!(deployment.priority_and_outbox(id).await, ("high".to_owned(), true));
    assert_eq!(deployment.pass().await, []);

    // The second time its delay holds, until nothing else is left: attempts must not be burnt while the other side is ill.
    deployment.begin_at(201, id, 2).await;
    deployment.settle_at(210, id, 2, retry(1_055)).await;
    assert_eq!(deployment.pass().await, []);
    assert_eq!(deployment.row(id).await.state, "delayed");
    deployment.at(1_051);
    assert_eq!(deployment.pass().await, [(id, Level::CannotFit)]);
    assert_eq!(deployment.row(id).await.state, "ready");
}

#[tokio::test]
async fn a_slot_and_a_first_start_are_kept_as_they_are() {
    let deployment = Deployment::new().await;
    deployment.ran_before(100, seconds(10)).await;
    let asked_for = due_by(1_060).due_at(start() + seconds(1_010));
    let snoozed = due_by(1_060);
    deployment.enqueue(&[asked_for.clone(), snoozed.clone()]).await;
    deployment.begin_at(10, snoozed.id, 1).await;
    let until = start() + seconds(1_010);
    let slot = Verdict::Snooze { due_at: until, waits_for: "budget countStock".to_owned() };
    deployment.settle_at(20, snoozed.id, 1, slot).await;

    let mut told = vec![(asked_for.id, Level::MustStartNow), (snoozed.id, Level::MustStartNow)];
    told.sort_unstable();
    assert_eq!(deployment.pass().await, told);
    for id in [asked_for.id, snoozed.id] {
        let row = deployment.row(id).await;
        assert_eq!((row.state.as_str(), row.due_at), ("delayed", until));
        assert_eq!(deployment.priority_and_outbox(id).await, ("high".to_owned(), true));
    }
}

#[tokio::test]
async fn empty_budgets_are_waited_for() {
    let deployment = Deployment::new().await;
    deployment.ran_before(100, seconds(10)).await;
    let payload = json!({ "seller": 7, "asks_a_budget": true });
    let asks = NewJob { payload, ..due_by(1_060) };
    let does_not = due_by(1_060);
    deployment.enqueue(&[asks.clone(), does_not.clone()]).await;
    let budgets = deployment.budgets();
    for ticket in 0..4 {
        budgets.ask(&count_budget(), &ticket.to_string()).await.unwrap();
    }
    let free_at = start() + seconds(400);
    assert_eq!(budgets.next_free(&[count_budget()]).await.unwrap(), [free_at]);
    assert_eq!(budgets.next_free(&[count_budget()]).await.unwrap(), [free_at], "looking takes nothing");

    assert_eq!(deployment.pass().await, []);
    let mut connection = deployment.connection().await;
    let first = escalations::latest_safe_start(&mut connection, asks.id).await.unwrap();
    assert_eq!(first, Some(start() + seconds(600)));
    let other = escalations::latest_safe_start(&mut connection, does_not.id).await.unwrap();
    assert_eq!(other, Some(start() + seconds(1_000)));
    // A command line without Redis sees what the watch saw.
    let seen = escalations::outlook_of(&mut connection, &CATALOG, asks.id, start()).await.unwrap();
    assert_eq!(seen.map(|seen| seen.latest_safe_start), first);
}

#[tokio::test]
async fn what_was_missed_while_nobody_looked_is_told_afterwards() {
    let deployment = Deployment::new().await;
    deployment.ran_before(100, seconds(10)).await;
    let jobs: Vec<_> = (0..4).map(|_| due_by(1_060)).collect();
    let [late, in_time, waiting, cancelled] = &jobs[..] else { unreachable!("there are four") };
    deployment.enqueue(&jobs).await;
    deployment.begin_at(900, in_time.id, 1).await;
    deployment.settle_at(1_059, in_time.id, 1, Verdict::Done { report: Value::Null }).await;
    deployment.begin_at(1_030, late.id, 2).await;
    deployment.settle_at(1_090, late.id, 2, Verdict::Done { report: Value::Null }).await;
    sqlx::query("update jobs set state = 'cancelled', finished_at = $2 where id = $1")
        .bind(cancelled.id.0)
        .bind(deployment.now())
        .execute(&deployment.pool)
        .await
        .unwrap();

    deployment.at(5_000);
    let mut told = vec![(late.id, Level::Missed), (waiting.id, Level::Missed)];
    told.sort_unstable();
    assert_eq!(deployment.pass().await, told);
    assert_eq!(deployment.pass().await, []);
    assert_eq!(deployment.watched().await, [waiting.id]);
    let mut connection = deployment.connection().await;
    let why = escalations::of_job(&mut connection, late.id).await.unwrap().remove(0).why;
    assert_eq!(why, "it was done 30 s after its deadline");
}

#[tokio::test]
async fn a_dead_letter_with_a_deadline_is_told_at_once_and_watched_until_a_person_decides() {
    let deployment = Deployment::new().await;
    let id = deployment.born().await;
    deployment.begin_at(100, id, 1).await;
    deployment.settle_at(110, id, 1, Verdict::Dead { error: "no such seller".to_owned() }).await;
    assert_eq!(deployment.pass().await, [(id, Level::CannotFit)]);

    let requeue = async || {
        let mut connection: sqlx::pool::PoolConnection<_> = deployment.connection().await;
        let connection: &mut PgConnection = &mut connection;
        dead::requeue(connection, id, deployment.now()).await.unwrap();
    };
    requeue().await;
    assert_eq!(deployment.pass().await, [], "it has time again");
    deployment.begin_at(120, id, 2).await;
    deployment.settle_at(130, id, 2, Verdict::Dead { error: "no such seller".to_owned() }).await;
    deployment.at(1_061);
    assert_eq!(deployment.pass().await, [(id, Level::Missed)]);
    assert_eq!(deployment.watched().await, [id]);

    dead::discard(&mut *deployment.connection().await, id, deployment.now()).await.unwrap();
    deployment.pass().await;
    assert_eq!(deployment.watched().await, []);
}

#[tokio::test]
async fn another_deadline_has_levels_of_its_own() {
    let deployment = Deployment::new().await;
    let id = deployment.born().await;
    deployment.at(600);
    assert_eq!(deployment.pass().await, [(id, Level::Half)]);
    let postpone = async |deadline: Option<i64>| {
        sqlx::query("update jobs set deadline_at = $2, touched_at = $3 where id = $1")
            .bind(id.0)
            .bind(deadline.map(|second| start() + seconds(second)))
            .bind(deployment.now())
            .execute(&deployment.pool)
            .await
            .unwrap();
    };
    postpone(Some(2_060)).await;
    assert_eq!(deployment.pass().await, []);
    deployment.at(1_200);
    assert_eq!(deployment.pass().await, [(id, Level::Half)]);
    postpone(None).await;
    deployment.at(9_000);
    assert_eq!(deployment.pass().await, []);
    assert_eq!(deployment.watched().await, []);
}

#[tokio::test]
async fn a_job_that_is_deleted_leaves_nothing() {
    let deployment = Deployment::new().await;
    let id = deployment.born().await;
    deployment.at(600);
    deployment.pass().await;
    assert_eq!(deployment.rows_left().await, (1, 1));
    sqlx::query("delete from jobs where id = $1").bind(id.0).execute(&deployment.pool).await.unwrap();
    assert_eq!(deployment.rows_left().await, (0, 0));
}

#[tokio::test]
async fn a_job_that_somebody_else_holds_is_not_waited_for() {
    let deployment = Deployment::new().await;
    let id = deployment.born().await;
    deployment.at(600);
    let mut holder = deployment.pool.begin().await.unwrap();
    sqlx::query("update jobs set touched_at = touched_at where id = $1")
        .bind(id.0)
        .execute(&mut *holder)
        .await
        .unwrap();
    assert_eq!(deployment.pass().await, []);
    holder.rollback().await.unwrap();
    assert_eq!(deployment.pass().await, [(id, Level::Half)]);
}

#[tokio::test]
async fn more_than_one_batch_is_looked_at_in_one_pass() {
    let deployment = Deployment::new().await;
    let jobs: Vec<_> = (0..1_100).map(|_| due_by(30)).collect();
    deployment.enqueue(&jobs).await;
    let mut all: Vec<_> = jobs.iter().map(|job| (job.id, Level::CannotFit)).collect();
    all.sort_unstable();
    assert_eq!(deployment.pass().await, all);
}

#[tokio::test]
async fn run_times_are_those_of_the_last_thousand_runs() {
    let deployment = Deployment::new().await;
    let mut connection = deployment.connection().await;
    let none = run_time(&mut connection, "count_stock", &POLICY).await.unwrap();
    assert_eq!(none, RunTime { p99: Duration::from_secs(60), measured: 0 });
    deployment.ran_before(989, seconds(2)).await;
    let steady = run_time(&mut connection, "count_stock", &POLICY).await.unwrap();
    assert_eq!(steady, RunTime { p99: Duration::from_secs(2), measured: 989 });
    // The last eleven took longer: more than one in a hundred of the thousand that count.
    sqlx::query(
        "insert into jobs (id, kind, queue, group_name, payload, state, cause, created_at, touched_at, due_at, started_at,
            finished_at)
         select gen_random_uuid(), 'count_stock', 'sync', 'a', '{}', 'done', 'cli', $1, $1, $1, $1,
            $1 + interval '9 seconds' from generate_series(1, 11)",
    )
    .bind(start())
    .execute(&deployment.pool)
    .await
    .unwrap();
    deployment.ran_before(2_000, seconds(2)).await;
    let slow = run_time(&mut connection, "count_stock", &POLICY).await.unwrap();
    assert_eq!(slow, RunTime { p99: Duration::from_secs(9), measured: 1_000 });
    let other = run_time(&mut connection, "count_shelves", &POLICY).await.unwrap();
    assert_eq!(other.measured, 0);
}

#[tokio::test]
async fn the_smallest_time_left_of_a_queue_may_be_negative() {
    let deployment = Deployment::new().await;
    deployment.enqueue(&[due_by(100), due_by(50), job("a")]).await;
    let mut connection = deployment.connection().await;
    for (second, expected) in [(0, 50.0), (60, -10.0)] {
        deployment.at(second);
        let left = seconds_left(&mut connection, deployment.now()).await.unwrap();
        for (queue, left) in left {
            assert_eq!(left, (queue == QUEUE).then_some(expected), "{queue}");
        }
    }
}
