//! The door: what is enqueued exists exactly when its transaction commits, and reaches Redis whatever dies on the way.

use std::collections::BTreeSet;

use queue::{
    JobId, Queue, WorkerId,
    ledger::Begun,
    outbox::{EnqueueError, Enqueued, MAX_GROUP_BYTES, MAX_PAYLOAD_BYTES, NewJob, enqueue, relay},
    retry::Verdict,
};
use serde_json::{Value, json};

use crate::deployment::{Deployment, QUEUE, job, seconds, start};

#[tokio::test]
async fn what_is_rolled_back_never_was() {
    let deployment = Deployment::new().await;
    let unborn = job("a");
    let mut transaction = deployment.pool.begin().await.unwrap();
    let answer = enqueue(&mut transaction, std::slice::from_ref(&unborn), start()).await.unwrap();
    assert_eq!(answer, [Enqueued::New(unborn.id)]);
    transaction.rollback().await.unwrap();

    assert_eq!(deployment.relay().await, 0);
    assert_eq!(deployment.ids_in("ready").await, BTreeSet::new());
    assert_eq!(deployment.engine().census(QUEUE).await.unwrap(), [].into());
}

#[tokio::test]
async fn jobs_reach_their_queues_in_the_order_of_their_birth() {
    let deployment = Deployment::new().await;
    let sync = [job("a"), job("a"), job("a")];
    let mail = NewJob { queue: Queue::Mail, ..job("a") };
    deployment.enqueue(&[sync[0].clone(), mail.clone(), sync[1].clone(), sync[2].clone()]).await;
    assert_eq!(deployment.relay().await, 4);
    assert_eq!(deployment.relay().await, 0, "the outbox is empty");

    let ids = sync.each_ref().map(|job| job.id);
    assert_eq!(deployment.queues.claim(WorkerId::new(), 10).await, ids);
    assert_eq!(deployment.engine().census(Queue::Mail).await.unwrap(), [mail.id].into());
}

#[tokio::test]
async fn a_delayed_job_goes_to_the_delayed() {
    let deployment = Deployment::new().await;
    let later = job("a").due_at(start() + seconds(60));
    let past = job("a").due_at(start() - seconds(60));
    deployment.enqueue(&[later.clone(), past.clone()]).await;
    assert_eq!(deployment.row(later.id).await.state, "delayed");
    deployment.relay().await;
    assert_eq!(deployment.queues.claim(WorkerId::new(), 5).await, [past.id]);
    let promoted = deployment.engine().promote(QUEUE).await.unwrap();
    assert_eq!((promoted.moved, promoted.next_due_at), (0, later.due_at));
}

#[tokio::test]
async fn a_second_unfinished_job_is_answered_with_the_first() {
    let deployment = Deployment::new().await;
    let unique = |key: &str| NewJob { unique_key: Some(key.to_owned()), ..job("a") };
    let (first, second, other) = (unique("one"), unique("one"), unique("other"));
    deployment.enqueue(std::slice::from_ref(&first)).await;
    assert_eq!(
        deployment.enqueue(&[second.clone(), other.clone()]).await,
        [Enqueued::Exists(first.id), Enqueued::New(other.id)]
    );

    let begun = deployment.ledger.begin(WorkerId::new(), 1, &[first.id], start()).await.unwrap();
    assert!(matches!(begun[&first.id], Begun::Run { .. }));
    let settled =
        queue::ledger::Settled { id: first.id, fence: 1, verdict: Verdict::Done { report: Value::Null } };
    deployment.ledger.settle(&[settled], start()).await.unwrap();
    assert_eq!(deployment.enqueue(std::slice::from_ref(&second)).await, [Enqueued::New(second.id)]);
}

#[tokio::test]
async fn an_idempotency_key_is_good_for_one_job_ever() {
    let deployment = Deployment::new().await;
    let first = job("a").idempotency_key("sync_orders@08:00");
    deployment.enqueue(std::slice::from_ref(&first)).await;
    sqlx::query("update jobs set state = 'done', finished_at = created_at")
        .execute(&deployment.pool)
        .await
        .unwrap();
    let again = job("a").idempotency_key("sync_orders@08:00");
    assert_eq!(deployment.enqueue(&[again]).await, [Enqueued::Exists(first.id)]);
}

#[tokio::test]
async fn twins_in_one_call_are_one_job() {
    let deployment = Deployment::new().await;
    let twin = || NewJob { unique_key: Some("one".to_owned()), ..job("a") };
    let twins = [twin(), twin()];
    assert_eq!(deployment.enqueue(&twins).await, [Enqueued::New(twins[0].id), Enqueued::Exists(twins[0].id)]);
    assert_eq!(deployment.enqueue(&twins[..1]).await, [Enqueued::Exists(twins[0].id)], "the same job again");
    assert_eq!(deployment.relay().await, 1);
}

#[tokio::test]
async fn the_same_job_twice_is_itself() {
    let deployment = Deployment::new().await;
    let once = job("a");
    deployment.enqueue(std::slice::from_ref(&once)).await;
    assert_eq!(deployment.enqueue(std::slice::from_ref(&once)).await, [Enqueued::Exists(once.id)]);
}

/// The other job may end between "there is one" and "which one is it?": an answer must never name a job that is not there.
#[tokio::test]
async fn an_answer_always_names_a_job_that_exists() {
    let deployment = Deployment::new().await;
    let unique = || NewJob { unique_key: Some("one".to_owned()), ..job("a") };
    let finish_all = async {
        for _ in 0..300 {
            sqlx::query(
                "update jobs set state = 'done', finished_at = created_at where state in ('ready', 'delayed')",
            )
            .execute(&deployment.pool)
            .await
            .unwrap();
        }
    };
    let enqueue_all = async {
        let mut answers = BTreeSet::new();
        for _ in 0..300 {
            answers.insert(deployment.enqueue(&[unique()]).await[0].id());
        }
        answers
    };
    let ((), answers) = tokio::join!(finish_all, enqueue_all);
    let mut known = deployment.ids_in("done").await;
    known.extend(deployment.ids_in("ready").await);
    let invented: Vec<_> = answers.difference(&known).collect();
    assert!(invented.is_empty(), "{invented:?}");
}

async fn refusal(deployment: &Deployment, refused: NewJob) -> String {
    let accepted = job("a");
    let mut transaction = deployment.pool.begin().await.unwrap();
    let error =
        enqueue(&mut transaction, &[accepted, refused], start()).await.expect_err("the second is refused");
    assert!(!matches!(error, EnqueueError::Database(_)), "{error:?}");
    // The caller may go on: the refusal came before anything was written.
    transaction.commit().await.unwrap();
    assert_eq!(deployment.ids_in("ready").await, BTreeSet::new(), "one refused, none enqueued");
    error.to_string()
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_with_the_way_out() {
    let deployment = Deployment::new().await;
    let with = |payload| NewJob { payload, ..job("a") };

    let message = refusal(&deployment, with(json!("x".repeat(MAX_PAYLOAD_BYTES)))).await;
    assert!(message.contains("`count_stock` has 65538 bytes") && message.contains("its id"), "{message}");
    // Postgres writes a blank after each comma and colon, and its limit counts them.
    let message = refusal(&deployment, with(json!(vec![1; 30_000]))).await;
    assert!(message.contains("has 90000 bytes"), "{message}");
    let message = refusal(&deployment, with(json!({"ids": ["a\0b"]}))).await;
    assert!(message.contains("U+0000"), "{message}");
    let message = refusal(&deployment, with(json!({"a\0b": 1}))).await;
    assert!(message.contains("U+0000"), "{message}");
    let message = refusal(&deployment, NewJob { group: String::new(), ..job("a") }).await;
    assert!(message.contains("1 to 100 bytes, not 0"), "{message}");
    let message = refusal(&deployment, NewJob { group: "é".repeat(51), ..job("a") }).await;
    assert!(message.contains("not 102"), "{message}");
}

#[tokio::test]
async fn what_is_just_within_the_limits_passes() {
    let deployment = Deployment::new().await;
    let jobs = [
        NewJob { payload: json!("x".repeat(MAX_PAYLOAD_BYTES - 2)), ..job("a") },
        NewJob { payload: json!({"path": "C:\\u0000"}), ..job("a") },
        NewJob { group: "g".repeat(MAX_GROUP_BYTES), ..job("a") },
    ];
    deployment.enqueue(&jobs).await;
    assert_eq!(deployment.relay().await, 3);
    let ids: BTreeSet<JobId> = jobs.iter().map(|job| job.id).collect();
    let taken = deployment.queues.claim(WorkerId::new(), 9).await;
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), ids);
}

#[tokio::test]
async fn a_relay_that_dies_after_its_push_pushes_again_and_one_copy_runs() {
    let deployment = Deployment::new().await;
    let once = job("a");
    deployment.enqueue(std::slice::from_ref(&once)).await;
    // The push of a relay whose transaction was rolled back.
    let payload = once.payload.to_string().into_bytes();
    let envelope = queue::envelope::Envelope {
        id: once.id,
        priority: once.priority,
        version: once.version,
        group: once.group.clone(),
        kind: once.kind.clone(),
        payload,
    };
    deployment.queues.push(&[envelope]).await;
    assert_eq!(deployment.relay().await, 1);

    let (one, other) = (WorkerId::new(), WorkerId::new());
    assert_eq!(deployment.queues.claim(one, 1).await, [once.id]);
    assert_eq!(deployment.queues.claim(other, 1).await, [once.id]);
    let first = deployment.ledger.begin(one, 1, &[once.id], start()).await.unwrap();
    assert!(matches!(first[&once.id], Begun::Run { .. }));
    let second = deployment.ledger.begin(other, 2, &[once.id], start()).await.unwrap();
    assert_eq!(second[&once.id], Begun::Running(one));
}

#[tokio::test]
async fn two_relays_at_once_push_each_job_and_none_twice() {
    let deployment = Deployment::new().await;
    let jobs: Vec<_> = (0..600).map(|n| job(&format!("seller-{}", n % 7))).collect();
    deployment.enqueue(&jobs).await;
    let drain = async || {
        let mut moved = 0;
        loop {
            let some = relay(&deployment.pool, deployment.engine(), 50).await.unwrap();
            if some == 0 {
                return moved;
            }
            moved += some;
        }
    };
    let (one, other) = tokio::join!(drain(), drain());
    assert_eq!(one + other, 600);

    let mut taken = Vec::new();
    loop {
        let some = deployment.queues.claim(WorkerId::new(), 256).await;
        if some.is_empty() {
            break;
        }
        taken.extend(some);
    }
    taken.sort_unstable();
    let mut ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    ids.sort_unstable();
    assert_eq!(taken, ids);
}

#[tokio::test]
async fn a_job_cancelled_before_it_was_relayed_is_not_pushed() {
    let deployment = Deployment::new().await;
    let (cancelled, wanted) = (job("a"), job("a"));
    deployment.enqueue(&[cancelled.clone(), wanted.clone()]).await;
    sqlx::query("update jobs set state = 'cancelled', finished_at = created_at where id = $1")
        .bind(cancelled.id.0)
        .execute(&deployment.pool)
        .await
        .unwrap();
    deployment.relay().await;
    assert_eq!(deployment.queues.claim(WorkerId::new(), 5).await, [wanted.id]);
}
