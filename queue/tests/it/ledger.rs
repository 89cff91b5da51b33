//! The ledger: what each verdict writes, what it answers to every odd copy, and whose word counts.

use std::collections::HashMap;

use queue::{
    JobId, WorkerId,
    ledger::{Begun, Settled},
    outbox::{NewJob, enqueue},
    retry::Verdict,
};
use serde_json::json;

use crate::deployment::{Deployment, Row, job, seconds, start};

const RUN: Begun = Begun::Run { attempts: 0, crashes: 0, deadline_at: None, trace: None };

impl Deployment {
    async fn settle(&self, id: JobId, fence: i64, verdict: Verdict) -> bool {
        let settled = Settled { id, fence, verdict };
        self.ledger.settle(&[settled], self.now()).await.unwrap().contains(&id)
    }

    async fn begin(&self, worker: WorkerId, fence: i64, id: JobId) -> Begun {
        self.ledger.begin(worker, fence, &[id], self.now()).await.unwrap()[&id].clone()
    }
}

fn retry(due_at: chrono::DateTime<chrono::Utc>) -> Verdict {
    Verdict::Retry { due_at, error: "Amazon answered 500".to_owned() }
}

#[tokio::test]
async fn each_verdict_writes_its_row() {
    let deployment = Deployment::new().await;
    let later = start() + seconds(20);
    let untouched = Row {
        state: "ready".to_owned(),
        attempts: 0,
        crashes: 0,
        snoozes: 0,
        due_at: start(),
        last_error: None,
        waits_for: None,
        report: None,
        finished_at: None,
        fence: 1,
    };
    let no_failures: &[(&str, &str)] = &[];
    let cases = [
        (
            Verdict::Done { report: json!({"orders": 3}) },
            Row {
                state: "done".to_owned(),
                report: Some(json!({"orders": 3})),
                finished_at: Some(start()),
                ..untouched.clone()
            },
            no_failures,
        ),
        (
            retry(later),
            Row {
                state: "delayed".to_owned(),
                attempts: 1,
                due_at: later,
                last_error: Some("Amazon answered 500".to_owned()),
                waits_for: Some("the next attempt".to_owned()),
                ..untouched.clone()
            },
            &[("retry", "Amazon answered 500")],
        ),
        (
            Verdict::Snooze { due_at: later, waits_for: "searchOrders".to_owned() },
            Row {
                state: "delayed".to_owned(),
                snoozes: 1,
                due_at: later,
                waits_for: Some("searchOrders".to_owned()),
                ..untouched.clone()
            },
            no_failures,
        ),
        (
            Verdict::Dead { error: "no such seller".to_owned() },
            Row {
                state: "dead".to_owned(),
                attempts: 1,
                last_error: Some("no such seller".to_owned()),
                finished_at: Some(start()),
                ..untouched.clone()
            },
            &[("reject", "no such seller")],
        ),
        (
            Verdict::Cancelled { reason: "the kind was retired".to_owned() },
            Row {
                state: "cancelled".to_owned(),
                last_error: Some("the kind was retired".to_owned()),
                finished_at: Some(start()),
                ..untouched.clone()
            },
            no_failures,
        ),
        (Verdict::HandBack, untouched.clone(), no_failures),
        (Verdict::LeaseLost, untouched.clone(), no_failures),
    ];
    for (verdict, expected, failures) in cases {
        let id = deployment.begun(WorkerId::new(), 1).await;
        assert!(deployment.settle(id, 1, verdict.clone()).await, "{verdict:?} was refused");
        assert_eq!(deployment.row(id).await, expected, "after {verdict:?}");
        let noted = deployment.failures(id).await;
        let noted: Vec<_> =
            noted.iter().map(|(decision, error)| (decision.as_str(), error.as_str())).collect();
        assert_eq!(noted, failures, "after {verdict:?}");
    }
}

#[tokio::test]
async fn one_batch_settles_many_and_refuses_only_the_stale() {
    let deployment = Deployment::new().await;
    let worker = WorkerId::new();
    let (done, stale, snoozed) = (
        deployment.begun(worker, 5).await,
        deployment.begun(worker, 5).await,
        deployment.begun(worker, 5).await,
    );
    let verdict = Verdict::Done { report: json!(null) };
    let batch = [
        Settled { id: done, fence: 5, verdict: verdict.clone() },
        Settled { id: stale, fence: 4, verdict },
        Settled {
            id: snoozed,
            fence: 5,
            verdict: Verdict::Snooze { due_at: start() + seconds(1), waits_for: "a slot".to_owned() },
        },
    ];
    let accepted = deployment.ledger.settle(&batch, start()).await.unwrap();
    assert_eq!(accepted, [done, snoozed].into());
    assert_eq!(deployment.row(stale).await.state, "running");
}

#[tokio::test]
async fn every_odd_copy_gets_its_answer() {
    let deployment = Deployment::new().await;
    let (here, there) = (WorkerId::new(), WorkerId::new());
    let mut expected: HashMap<JobId, Begun> = HashMap::new();

    for verdict in [Verdict::Done { report: json!(1) }, Verdict::Dead { error: "no".to_owned() }] {
        let id = deployment.begun(there, 10).await;
        deployment.settle(id, 10, verdict).await;
        expected.insert(id, Begun::Finished);
    }
    let delayed = deployment.begun(there, 10).await;
    let due_at = start() + seconds(3_600);
    deployment.settle(delayed, 10, retry(due_at)).await;
    expected.insert(delayed, Begun::NotDue(due_at));

    expected.insert(deployment.begun(there, 10).await, Begun::Running(there));
    expected.insert(JobId::new(), Begun::Unknown);

    let ready_above = deployment.begun(there, 90).await;
    deployment.settle(ready_above, 90, Verdict::HandBack).await;
    expected.insert(ready_above, Begun::FenceTooLow(90));
    expected.insert(deployment.begun(there, 95).await, Begun::FenceTooLow(95));
    expected.insert(deployment.begun(there, 50).await, Begun::FenceTooLow(50));

    let fresh = job("a");
    deployment.enqueue(std::slice::from_ref(&fresh)).await;
    expected.insert(fresh.id, RUN);

    let ids: Vec<_> = expected.keys().copied().collect();
    assert_eq!(deployment.ledger.begin(here, 50, &ids, start()).await.unwrap(), expected);
}

#[tokio::test]
async fn a_lost_answer_to_begin_is_healed_by_asking_again() {
    let deployment = Deployment::new().await;
    let worker = WorkerId::new();
    let id = deployment.begun(worker, 7).await;
    assert_eq!(deployment.begin(worker, 7, id).await, RUN);
    assert_eq!(
        deployment.begin(WorkerId::new(), 7, id).await,
        Begun::FenceTooLow(7),
        "the token is another's"
    );
}

#[tokio::test]
async fn a_lost_answer_to_settle_is_healed_by_telling_again() {
    let deployment = Deployment::new().await;
    let verdicts = [
        Verdict::Done { report: json!(1) },
        retry(start() + seconds(9)),
        Verdict::Snooze { due_at: start() + seconds(9), waits_for: "a slot".to_owned() },
        Verdict::Dead { error: "no".to_owned() },
        Verdict::HandBack,
    ];
    for verdict in verdicts {
        let id = deployment.begun(WorkerId::new(), 7).await;
        assert!(deployment.settle(id, 7, verdict.clone()).await);
        let row = deployment.row(id).await;
        // Refused, Redis would drop a job that the ledger says is delayed.
        assert!(deployment.settle(id, 7, verdict.clone()).await, "{verdict:?} was refused the second time");
        assert_eq!(deployment.row(id).await, row, "{verdict:?} counts once");
    }
}

#[tokio::test]
async fn a_stale_run_changes_nothing() {
    let deployment = Deployment::new().await;
    let (stale, current) = (WorkerId::new(), WorkerId::new());
    let id = deployment.begun(stale, 7).await;
    let lost = [(id, stale, 3)];
    let taken = deployment.ledger.take_over(current, 8, &lost, None, start()).await.unwrap();
    assert_eq!(taken[&id], Begun::Run { attempts: 0, crashes: 1, deadline_at: None, trace: None });

    let before = deployment.row(id).await;
    for verdict in [Verdict::Done { report: json!("stale") }, Verdict::HandBack, retry(start())] {
        assert!(!deployment.settle(id, 7, verdict).await);
    }
    assert_eq!(deployment.row(id).await, before);
    assert!(deployment.settle(id, 8, Verdict::Done { report: json!("current") }).await);
    assert!(!deployment.settle(id, 7, Verdict::Done { report: json!("stale") }).await);
    assert_eq!(deployment.row(id).await.report, Some(json!("current")));
}

#[tokio::test]
async fn of_two_copies_at_once_one_runs() {
    let deployment = Deployment::new().await;
    for fences in [(7, 8), (8, 7)] {
        let twice = job("a");
        deployment.enqueue(std::slice::from_ref(&twice)).await;
        let (one, other) = (WorkerId::new(), WorkerId::new());
        let (first, second) = tokio::join!(
            deployment.begin(one, fences.0, twice.id),
            deployment.begin(other, fences.1, twice.id),
        );
        let runs = [&first, &second].into_iter().filter(|begun| **begun == RUN).count();
        assert_eq!(runs, 1, "{first:?}, {second:?}");
    }
}

#[tokio::test]
async fn only_crashes_in_a_row_count() {
    let deployment = Deployment::new().await;
    let (lost, next) = (WorkerId::new(), WorkerId::new());
    let id = deployment.begun(lost, 1).await;
    deployment.ledger.take_over(next, 2, &[(id, lost, 3)], None, start()).await.unwrap();
    assert_eq!(deployment.row(id).await.crashes, 1);
    let snooze = Verdict::Snooze { due_at: start(), waits_for: "its budget".to_owned() };
    assert!(deployment.settle(id, 2, snooze).await);
    assert_eq!(deployment.row(id).await.crashes, 0);
}

#[tokio::test]
async fn a_job_that_kills_its_workers_is_dead_after_the_last_allowed_one() {
    let deployment = Deployment::new().await;
    let mut worker = WorkerId::new();
    let id = deployment.begun(worker, 1).await;
    for (fence, crashes) in [(2, 1), (3, 2)] {
        let next = WorkerId::new();
        let taken =
            deployment.ledger.take_over(next, fence, &[(id, worker, 3)], None, start()).await.unwrap();
        assert_eq!(taken[&id], Begun::Run { attempts: 0, crashes, deadline_at: None, trace: None });
        worker = next;
    }
    let last = [(id, worker, 3)];
    let taken = deployment.ledger.take_over(WorkerId::new(), 4, &last, None, start()).await.unwrap();
    assert_eq!(taken[&id], Begun::Finished);

    let row = deployment.row(id).await;
    assert_eq!((row.state.as_str(), row.attempts, row.crashes), ("dead", 0, 3));
    let reason = row.last_error.expect("a dead letter says why");
    assert!(reason.contains("3 times that its worker was lost"), "{reason}");
    let crash = ("crash".to_owned(), "the worker that ran the job was lost".to_owned());
    assert_eq!(deployment.failures(id).await, [crash.clone(), crash.clone(), crash]);
}

#[tokio::test]
async fn of_two_that_take_over_one_does() {
    let deployment = Deployment::new().await;
    let lost = WorkerId::new();
    let id = deployment.begun(lost, 1).await;
    let (one, other) = (WorkerId::new(), WorkerId::new());
    let jobs = [(id, lost, 3)];
    let (first, second) = tokio::join!(
        deployment.ledger.take_over(one, 2, &jobs, None, start()),
        deployment.ledger.take_over(other, 3, &jobs, None, start()),
    );
    let took: Vec<_> =
        [first.unwrap(), second.unwrap()].into_iter().filter(|taken| !taken.is_empty()).collect();
    assert_eq!(
        took,
        [HashMap::from([(id, Begun::Run { attempts: 0, crashes: 1, deadline_at: None, trace: None })])]
    );
}

#[tokio::test]
async fn a_deadline_and_the_failed_attempts_reach_the_run() {
    let deployment = Deployment::new().await;
    let deadline_at = Some(start() + seconds(86_400));
    let urgent = NewJob { deadline_at, ..job("a") };
    deployment.enqueue(std::slice::from_ref(&urgent)).await;
    let worker = WorkerId::new();
    let first = deployment.begin(worker, 1, urgent.id).await;
    assert_eq!(first, Begun::Run { attempts: 0, crashes: 0, deadline_at, trace: None });
    deployment.settle(urgent.id, 1, retry(start())).await;
    let second = deployment.begin(worker, 2, urgent.id).await;
    assert_eq!(second, Begun::Run { attempts: 1, crashes: 0, deadline_at, trace: None });
}

#[tokio::test]
async fn a_result_with_a_character_that_postgres_refuses_is_stored_all_the_same() {
    let deployment = Deployment::new().await;
    let worker = WorkerId::new();
    let (odd, plain) = (deployment.begun(worker, 1).await, deployment.begun(worker, 1).await);
    let snoozed = deployment.begun(worker, 1).await;
    let batch = [
        Settled { id: odd, fence: 1, verdict: Verdict::Done { report: json!({"na\0me": ["a\0b"]}) } },
        Settled { id: plain, fence: 1, verdict: Verdict::Done { report: json!("a\\u0000") } },
        Settled {
            id: snoozed,
            fence: 1,
            verdict: Verdict::Snooze { due_at: start(), waits_for: "a\0slot".to_owned() },
        },
    ];
    // One refused report would hold up all results of its worker for ever.
    let accepted = deployment.ledger.settle(&batch, start()).await.unwrap();
    assert_eq!(accepted, [odd, plain, snoozed].into());
    assert_eq!(deployment.row(odd).await.report, Some(json!({"na\u{fffd}me": ["a\u{fffd}b"]})));
    assert_eq!(deployment.row(plain).await.report, Some(json!("a\\u0000")), "text that only looks like it");
    assert_eq!(deployment.row(snoozed).await.waits_for.as_deref(), Some("a\u{fffd}slot"));
}

#[tokio::test]
async fn a_job_cancelled_while_it_runs_stays_cancelled() {
    let deployment = Deployment::new().await;
    let id = deployment.begun(WorkerId::new(), 1).await;
    sqlx::query("update jobs set state = 'cancelled', finished_at = $2 where id = $1")
        .bind(id.0)
        .bind(start())
        .execute(&deployment.pool)
        .await
        .unwrap();
    assert!(!deployment.settle(id, 1, Verdict::Done { report: json!(1) }).await);
    assert_eq!(deployment.row(id).await.state, "cancelled");
    assert_eq!(deployment.begin(WorkerId::new(), 2, id).await, Begun::Finished);
}

#[tokio::test]
async fn nothing_is_begun_in_a_transaction_that_is_rolled_back() {
    let deployment = Deployment::new().await;
    let unborn = job("a");
    let mut transaction = deployment.pool.begin().await.unwrap();
    enqueue(&mut transaction, std::slice::from_ref(&unborn), start()).await.unwrap();
    assert_eq!(
        deployment.begin(WorkerId::new(), 1, unborn.id).await,
        Begun::Unknown,
        "nobody else sees it yet"
    );
    transaction.rollback().await.unwrap();
    assert_eq!(deployment.begin(WorkerId::new(), 2, unborn.id).await, Begun::Unknown);
}

/// A flush takes every lease: the jobs that ran then must not be taken for those that kill their workers.
#[tokio::test]
async fn a_run_that_lost_its_lease_with_redis_data_is_no_crash() {
    let deployment = Deployment::new().await;
    let (first, second) = (WorkerId::new(), WorkerId::new());
    let id = deployment.begun(first, 1).await;
    for fence in 2..9 {
        let (from, to) = if fence % 2 == 0 { (first, second) } else { (second, first) };
        let lost_at = Some(start() + seconds(10));
        let taken = deployment.ledger.take_over(to, fence, &[(id, from, 3)], lost_at, start()).await.unwrap();
        assert!(matches!(taken[&id], Begun::Run { crashes: 0, .. }), "{taken:?}");
    }
    assert_eq!(deployment.failures(id).await, []);
    let later = start() + seconds(60);
    let taken =
        deployment.ledger.take_over(first, 9, &[(id, second, 3)], Some(start()), later).await.unwrap();
    assert!(matches!(taken[&id], Begun::Run { crashes: 1, .. }), "{taken:?}");
}

/// Postgres writes all indexes of a row anew when a column changes that any of them names, also in its condition.
#[tokio::test]
async fn no_index_names_what_changes_when_a_run_begins() {
    let deployment = Deployment::new().await;
    let changing = r"\m(state|worker|fence|started_at|touched_at|waits_for|attempts|due_at)\M";
    let named: Vec<String> = sqlx::query_scalar(
        "select indexname::text from pg_indexes where tablename = 'jobs' and indexdef ~ $1",
    )
    .bind(changing)
    .fetch_all(&deployment.pool)
    .await
    .unwrap();
    assert_eq!(named, [""; 0]);
}
