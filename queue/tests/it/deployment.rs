//! What the tests share: queues and a ledger of their own, jobs to put in, and waiting for a condition.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use queue::{
    Controls, Engine, JobId, KnownKinds, Queue, WorkerId,
    envelope::Envelope,
    keys::QueueKeys,
    lease::Ended,
    ledger::Ledger,
    outbox::{Cause, Enqueued, NewJob, enqueue},
};
use redis::AsyncCommands;
use runtime::{
    clock::{Clock, FakeClock},
    testing::{TestDatabase, TestRedis},
};
use serde_json::json;
use sqlx::PgPool;
use tokio::time::Instant;

/// The queue that tests use where it does not matter which.
pub(crate) const QUEUE: Queue = Queue::Sync;

/// A moment at which tests begin.
pub(crate) fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).expect("a moment")
}

/// Runs a test over both sides of the engine: `name::redis` and `name::memory`.
macro_rules! both {
    ($(async fn $name:ident($queues:ident) $body:block)*) => {
        $(mod $name {
            #[allow(unused_imports, reason = "not every test needs all that its file names")]
            use super::*;

            async fn body($queues: crate::deployment::Queues) $body

            #[tokio::test]
            async fn redis() {
                body(crate::deployment::Queues::new().await).await;
            }

            #[tokio::test]
            async fn memory() {
                body(crate::deployment::Queues::in_memory().await).await;
            }
        })*
    };
}
pub(crate) use both;

/// The engine alone, with its queue open.
pub(crate) struct Queues {
    pub(crate) engine: Engine,
    pub(crate) clock: FakeClock,
    /// Of those in Redis.
    pub(crate) keys: QueueKeys,
    redis: Option<TestRedis>,
}

impl Queues {
    pub(crate) async fn new() -> Self {
        let clock = FakeClock::at(start());
        let redis = TestRedis::new().await;
        let engine = Engine::new(redis.redis.clone(), Arc::new(clock.clone()));
        let keys = QueueKeys::new(redis.redis.prefix(), QUEUE);
        engine.control(QUEUE, &Controls::default()).await.unwrap();
        Self { engine, clock, keys, redis: Some(redis) }
    }

    pub(crate) async fn in_memory() -> Self {
        let clock = FakeClock::at(start());
        let engine = Engine::in_memory(Arc::new(clock.clone()));
        engine.control(QUEUE, &Controls::default()).await.unwrap();
        Self { engine, clock, keys: QueueKeys::new("memory", QUEUE), redis: None }
    }

    /// The Redis of a test that needs one.
    pub(crate) fn redis(&self) -> &runtime::redis::Redis {
        &self.redis.as_ref().expect("this test runs on Redis").redis
    }

    /// The connection of a test that looks into Redis.
    pub(crate) fn connection(&self) -> runtime::redis::Connection {
        self.redis().connection()
    }

    pub(crate) async fn push(&self, envelopes: &[Envelope]) {
        let entries: Vec<_> = envelopes.iter().map(|envelope| (None, envelope.clone())).collect();
        self.engine.push(QUEUE, &entries).await.unwrap();
    }

    /// The moment in so many seconds.
    pub(crate) fn clock_in(&self, count: i64) -> DateTime<Utc> {
        self.clock.now() + seconds(count)
    }

    /// The ids that a claim takes, in order.
    pub(crate) async fn claim(&self, worker: WorkerId, most: usize) -> Vec<JobId> {
        ids(&self.engine.claim(QUEUE, worker, most, &KnownKinds::all()).await.unwrap().entries)
    }

    /// Ends the leases of jobs that are finished.
    pub(crate) async fn finish(&self, worker: WorkerId, ids: &[JobId]) {
        let ended = Ended { finished: ids.to_vec(), ..Ended::default() };
        assert_eq!(self.engine.end_leases(QUEUE, worker, &ended).await.unwrap(), 0);
    }

    /// What a worker's lease holds.
    pub(crate) async fn leased(&self, worker: WorkerId) -> BTreeSet<JobId> {
        self.engine.held_by(QUEUE, worker).await.unwrap().into_iter().collect()
    }

    /// The workers on the list.
    pub(crate) async fn workers(&self) -> Vec<WorkerId> {
        let workers: Vec<Vec<u8>> = self.connection().zrange(self.keys.workers(), 0, -1).await.unwrap();
        workers.iter().map(|id| WorkerId(uuid::Uuid::from_slice(id).unwrap())).collect()
    }

    /// Deletes everything that this deployment keeps in Redis, as a flush would.
    pub(crate) async fn flush(&self) {
        let Some(redis) = &self.redis else {
            self.engine.flush_memory();
            return;
        };
        let mut connection = self.connection();
        let pattern = format!("{{{}*", redis.redis.prefix());
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.unwrap();
        if !keys.is_empty() {
            connection.del::<_, ()>(keys).await.unwrap();
        }
    }

    /// What the scheduler does after a loss, before anything is put back.
    pub(crate) async fn open(&self) {
        self.engine.control(QUEUE, &Controls::default()).await.unwrap();
    }
}

/// Both sides: queues and ledger.
pub(crate) struct Deployment {
    pub(crate) queues: Queues,
    pub(crate) pool: PgPool,
    pub(crate) ledger: Ledger,
}

impl Deployment {
    pub(crate) async fn new() -> Self {
        let (queues, database) = tokio::join!(Queues::new(), TestDatabase::new());
        Self { queues, ledger: Ledger::new(database.pool.clone()), pool: database.pool }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.queues.engine
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.queues.clock.now()
    }

    /// Enqueues jobs in a transaction of their own.
    pub(crate) async fn enqueue(&self, jobs: &[NewJob]) -> Vec<Enqueued> {
        let mut transaction = self.pool.begin().await.unwrap();
        let enqueued = enqueue(&mut transaction, jobs, self.now()).await.unwrap();
        transaction.commit().await.unwrap();
        enqueued
    }

    /// Enqueues one job and lets `worker` begin it under `fence`.
    pub(crate) async fn begun(&self, worker: WorkerId, fence: i64) -> JobId {
        let job = job("a");
        self.enqueue(std::slice::from_ref(&job)).await;
        let begun = self.ledger.begin(worker, fence, &[job.id], self.now()).await.unwrap();
        assert!(matches!(begun[&job.id], queue::ledger::Begun::Run { .. }), "{begun:?}");
        job.id
    }

    pub(crate) async fn relay(&self) -> usize {
        queue::outbox::relay(&self.pool, self.engine(), 500).await.unwrap()
    }

    pub(crate) async fn row(&self, id: JobId) -> Row {
        sqlx::query_as(
            "select state, attempts, crashes, snoozes, due_at, last_error, waits_for, report, finished_at, fence
             from jobs where id = $1",
        )
        .bind(id.0)
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }

    /// Decision and error of each failed run of a job.
    pub(crate) async fn failures(&self, id: JobId) -> Vec<(String, String)> {
        let mut connection = self.pool.acquire().await.unwrap();
        let failed = queue::dead::failures(&mut connection, id).await.unwrap();
        failed.into_iter().map(|run| (run.decision, run.error)).collect()
    }

    pub(crate) async fn ids_in(&self, state: &str) -> BTreeSet<JobId> {
        let ids: Vec<JobId> = sqlx::query_scalar("select id from jobs where state = $1")
            .bind(state)
            .fetch_all(&self.pool)
            .await
            .unwrap();
        ids.into_iter().collect()
    }
}

/// A job's row of the ledger.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) state: String,
    pub(crate) attempts: i32,
    pub(crate) crashes: i32,
    pub(crate) snoozes: i32,
    pub(crate) due_at: DateTime<Utc>,
    pub(crate) last_error: Option<String>,
    pub(crate) waits_for: Option<String>,
    pub(crate) report: Option<serde_json::Value>,
    pub(crate) finished_at: Option<DateTime<Utc>>,
    pub(crate) fence: i64,
}

/// A job that counts the stock of a seller.
pub(crate) fn job(group: &str) -> NewJob {
    NewJob::raw("count_stock", QUEUE, group, json!({"seller": 7}), Cause::Cli)
}

/// The same as it travels through Redis.
pub(crate) fn envelope(group: &str) -> Envelope {
    let job = job(group);
    Envelope {
        id: job.id,
        priority: job.priority,
        version: job.version,
        group: job.group,
        kind: job.kind,
        payload: br#"{"seller": 7}"#.to_vec(),
    }
}

pub(crate) fn envelopes(group: &str, count: usize) -> Vec<Envelope> {
    (0..count).map(|_| envelope(group)).collect()
}

pub(crate) fn ids_of(envelopes: &[Envelope]) -> Vec<JobId> {
    envelopes.iter().map(|envelope| envelope.id).collect()
}

/// The ids at the head of entries or fields.
pub(crate) fn ids(entries: &[Vec<u8>]) -> Vec<JobId> {
    entries.iter().map(|entry| Envelope::id_of(entry).expect("an entry begins with its id")).collect()
}

pub(crate) fn seconds(count: i64) -> TimeDelta {
    TimeDelta::seconds(count)
}

/// Waits until `condition` holds, looking every few milliseconds; panics after half a minute.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < deadline, "this did not come about within 30 seconds: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
