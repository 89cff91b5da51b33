//! Unique jobs: while one waits, until it is done, or for a time; exact when many ask at once, and never in the way of what
//! a job that runs becomes.

use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use queue::{
    JobId, Unique, WorkerId,
    dead::requeue,
    ledger::{Begun, Settled},
    outbox::{Enqueued, NewJob, enqueue},
    retry::Verdict,
};
use serde_json::json;

use crate::deployment::{Deployment, job, seconds, start};

const MINUTE: Unique = Unique::For(Duration::from_secs(60));

fn unique(unique: Unique) -> NewJob {
    NewJob { unique_key: Some("one".to_owned()), unique, ..job("a") }
}

impl Deployment {
    async fn ask(&self, how: Unique) -> Enqueued {
        self.enqueue(&[unique(how)]).await[0]
    }

    async fn runs(&self, id: JobId, fence: i64) {
        let begun = self.ledger.begin(WorkerId::new(), fence, &[id], self.now()).await.unwrap();
        assert!(matches!(begun[&id], Begun::Run { .. }), "{begun:?}");
    }

    async fn ends(&self, id: JobId, fence: i64, verdict: Verdict) {
        let settled = Settled { id, fence, verdict };
        assert_eq!(self.ledger.settle(&[settled], self.now()).await.unwrap(), [id].into());
    }
}

fn retry(due_at: DateTime<Utc>) -> Verdict {
    Verdict::Retry { due_at, error: "Amazon answered 500".to_owned() }
}

#[tokio::test]
async fn while_one_waits_there_is_no_second_and_once_it_runs_there_is() {
    let deployment = Deployment::new().await;
    let first = deployment.ask(Unique::WhileWaiting).await;
    assert!(matches!(first, Enqueued::New(_)));
    assert_eq!(deployment.ask(Unique::WhileWaiting).await, Enqueued::Exists(first.id()));

    deployment.runs(first.id(), 1).await;
    let second = deployment.ask(Unique::WhileWaiting).await;
    assert!(matches!(second, Enqueued::New(_)), "what is asked for during a run needs another one");
    assert_eq!(deployment.ask(Unique::WhileWaiting).await, Enqueued::Exists(second.id()));
}

#[tokio::test]
async fn a_run_that_is_delayed_again_goes_beside_the_one_that_waits() {
    let deployment = Deployment::new().await;
    let snooze = |due_at| Verdict::Snooze { due_at, waits_for: "a slot".to_owned() };
    for (n, verdict) in [retry(start()), snooze(start()), Verdict::HandBack].into_iter().enumerate() {
        let key = format!("key-{n}");
        let asked = || NewJob { unique_key: Some(key.clone()), ..unique(Unique::WhileWaiting) };
        let first = deployment.enqueue(&[asked()]).await[0].id();
        deployment.runs(first, 1).await;
        let second = deployment.enqueue(&[asked()]).await[0];
        assert!(matches!(second, Enqueued::New(_)), "{verdict:?}");
        deployment.ends(first, 1, verdict).await;
        assert_eq!(deployment.enqueue(&[asked()]).await, [Enqueued::Exists(second.id())], "the waiting one");
        // Both run, in whatever order.
        deployment.runs(first, 2).await;
        deployment.runs(second.id(), 2).await;
    }
}

#[tokio::test]
async fn a_dead_letter_comes_back_beside_one_that_waits() {
    let deployment = Deployment::new().await;
    for how in [Unique::WhileWaiting, MINUTE] {
        let key = format!("{how}");
        let asked = || NewJob { unique_key: Some(key.clone()), ..unique(how) };
        let dead = deployment.enqueue(&[asked()]).await[0].id();
        deployment.runs(dead, 1).await;
        deployment.ends(dead, 1, Verdict::Dead { error: "no".to_owned() }).await;
        deployment.queues.clock.set(deployment.now() + seconds(60));
        assert!(matches!(deployment.enqueue(&[asked()]).await[0], Enqueued::New(_)), "{how}");
        let mut connection = deployment.pool.acquire().await.unwrap();
        requeue(&mut connection, dead, deployment.now()).await.unwrap();
        assert_eq!(deployment.row(dead).await.state, "ready", "{how}");
    }
}

#[tokio::test]
async fn for_a_time_there_is_one_in_any_period_also_when_it_has_ended() {
    let deployment = Deployment::new().await;
    let first = deployment.ask(MINUTE).await.id();
    deployment.runs(first, 1).await;
    deployment.ends(first, 1, Verdict::Done { report: json!(1) }).await;

    deployment.queues.clock.set(start() + seconds(60) - TimeDelta::microseconds(1));
    assert_eq!(deployment.ask(MINUTE).await, Enqueued::Exists(first));
    deployment.queues.clock.set(start() + seconds(60));
    let second = deployment.ask(MINUTE).await;
    assert!(matches!(second, Enqueued::New(_)));
    // The period slides: it begins with each job, not with each minute.
    deployment.queues.clock.set(start() + seconds(90));
    assert_eq!(deployment.ask(MINUTE).await, Enqueued::Exists(second.id()));
}

#[tokio::test]
async fn the_three_ways_and_other_keys_do_not_meet() {
    let deployment = Deployment::new().await;
    let other = NewJob { unique_key: Some("other".to_owned()), ..unique(MINUTE) };
    let jobs = [unique(Unique::UntilDone), unique(Unique::WhileWaiting), unique(MINUTE), other];
    let ids = jobs.each_ref().map(|job| job.id);
    assert_eq!(deployment.enqueue(&jobs).await, ids.map(Enqueued::New));
    let again = [unique(MINUTE), unique(Unique::WhileWaiting), unique(Unique::UntilDone)];
    assert_eq!(deployment.enqueue(&again).await, [ids[2], ids[1], ids[0]].map(Enqueued::Exists));
}

#[tokio::test]
async fn a_refused_idempotency_key_holds_no_period() {
    let deployment = Deployment::new().await;
    let earlier = job("a").idempotency_key("ticket-1");
    deployment.enqueue(std::slice::from_ref(&earlier)).await;
    let refused = unique(MINUTE).idempotency_key("ticket-1");
    assert_eq!(deployment.enqueue(&[refused]).await, [Enqueued::Exists(earlier.id)]);
    assert!(matches!(deployment.ask(MINUTE).await, Enqueued::New(_)), "the refused job was never there");
}

/// Each asks for the same twenty keys, in transactions that overlap: of each key one job is born, and all are told of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_ask_at_once_one_is_born() {
    let deployment = Deployment::new().await;
    for how in [Unique::WhileWaiting, Unique::UntilDone, MINUTE] {
        // Each in an order of its own.
        let asked = async |who: usize| {
            let mut jobs: Vec<_> =
                (0..20).map(|n| NewJob { unique_key: Some(format!("{how} {n}")), ..unique(how) }).collect();
            jobs.rotate_left(who);
            if who % 2 == 1 {
                jobs.reverse();
            }
            let mut transaction = deployment.pool.begin().await.unwrap();
            let answers = enqueue(&mut transaction, &jobs, start()).await.unwrap();
            tokio::task::yield_now().await;
            transaction.commit().await.unwrap();
            answers
        };
        let answers = futures::future::join_all((0..8).map(&asked)).await;
        let born: Vec<_> =
            answers.iter().flatten().filter(|answer| matches!(answer, Enqueued::New(_))).collect();
        assert_eq!(born.len(), 20, "{how}");
        let known: BTreeSet<_> = answers.iter().flatten().map(|answer| answer.id()).collect();
        assert_eq!(known, born.into_iter().map(|answer| answer.id()).collect(), "{how}");
    }
}

#[tokio::test]
async fn a_thousand_at_once_are_each_told_their_twin() {
    let deployment = Deployment::new().await;
    let jobs = |how| -> Vec<_> {
        (0..1_000).map(|n| NewJob { unique_key: Some(format!("{n}")), ..unique(how) }).collect::<Vec<_>>()
    };
    for how in [Unique::WhileWaiting, MINUTE] {
        let first = deployment.enqueue(&jobs(how)).await;
        let again = deployment.enqueue(&jobs(how)).await;
        let expected: Vec<_> = first.iter().map(|answer| Enqueued::Exists(answer.id())).collect();
        assert_eq!(again, expected);
    }
}

#[tokio::test]
async fn who_asks_for_an_earlier_moment_brings_the_one_that_waits_forward() {
    let deployment = Deployment::new().await;
    let asked = |due_at| NewJob { due_at, ..unique(Unique::UntilDone) };
    let later = start() + seconds(600);
    let first = deployment.enqueue(&[asked(Some(later))]).await[0];
    assert_eq!(deployment.relay().await, 1);

    let sooner = start() + seconds(60);
    for (due_at, expected) in [(Some(later + seconds(1)), later), (Some(sooner), sooner)] {
        assert_eq!(deployment.enqueue(&[asked(due_at)]).await, [Enqueued::Exists(first.id())]);
        assert_eq!(deployment.row(first.id()).await.due_at, expected);
    }
    assert_eq!(deployment.enqueue(&[asked(None), asked(Some(sooner))]).await.len(), 2);
    let row = deployment.row(first.id()).await;
    assert_eq!((row.state.as_str(), row.due_at), ("ready", start()));
    assert_eq!(deployment.relay().await, 1, "once, however often it was asked for");

    // Redis holds it for now, and for later; it runs once.
    assert_eq!(deployment.queues.claim(WorkerId::new(), 5).await, [first.id()]);
    deployment.runs(first.id(), 1).await;
    deployment.ends(first.id(), 1, Verdict::Done { report: json!({}) }).await;
    deployment.queues.clock.set(later);
    deployment.engine().promote(crate::deployment::QUEUE).await.unwrap();
    let copy = deployment.ledger.begin(WorkerId::new(), 2, &[first.id()], later).await.unwrap();
    assert_eq!(copy[&first.id()], Begun::Finished);
}

#[tokio::test]
async fn what_has_begun_keeps_its_moment() {
    let deployment = Deployment::new().await;
    let first = deployment.ask(Unique::UntilDone).await;
    deployment.runs(first.id(), 1).await;
    let due_at = start() + seconds(300);
    deployment.ends(first.id(), 1, retry(due_at)).await;
    assert_eq!(deployment.ask(Unique::UntilDone).await, Enqueued::Exists(first.id()));
    let row = deployment.row(first.id()).await;
    assert_eq!((row.state.as_str(), row.due_at), ("delayed", due_at), "its retry is not hurried");
}
