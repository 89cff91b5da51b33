//! The whole path of a job: outbox, relay, Redis, run, ledger; with real Postgres and Redis, the scheduler's real services
//! and an apalis worker, in one process.
//!
//! ```sh
//! eval "$(cargo xtask services env)"; cargo bench -p tests --bench whole_path     # BENCH_JOBS=50000 by default
//! ```
//!
//! Prints one JSON object a line: `whole_path` (jobs per second from the first enqueue to the last settlement) and
//! `commit_to_start` (from the enqueueing transaction's commit to the start of the run, while idle).

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use apalis_core::{task::Task, worker::builder::WorkerBuilder};
use chrono::{TimeDelta, Utc};
use queue::{
    Engine, JobId, KnownKinds, Policy, Queue,
    backend::{Backend, Claim, Settings},
    ledger::Ledger,
    limit::Budgets,
    outbox::{self, Cause, NewJob},
    retry::RunFailed,
    wake::Wakes,
};
use runtime::{
    clock::{Clock, SystemClock},
    env::{Environment, ProcessEnvironment},
    health::Loops,
    shutdown::Shutdown,
    testing::{TestDatabase, TestRedis},
};
use scheduler::services::Services;
use serde_json::{Value, json};
use sqlx::PgPool;

const GROUPS: usize = 50;
const SLOTS: usize = 256;
const BATCH: usize = 1_000;

/// Notes when each run starts, and does nothing.
#[derive(Clone, Default)]
struct Note {
    started: Arc<Mutex<Vec<(JobId, Instant)>>>,
}

impl tower_service::Service<Task<Claim>> for Note {
    type Response = Value;
    type Error = RunFailed;
    type Future = std::future::Ready<Result<Value, RunFailed>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), RunFailed>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Claim>) -> Self::Future {
        self.started.lock().expect("no run panics").push((task.args.run.id, Instant::now()));
        std::future::ready(Ok(json!({ "seen": true })))
    }
}

#[tokio::main]
async fn main() {
    let jobs: usize = ProcessEnvironment
        .get("BENCH_JOBS")
        .map_or(50_000, |count| count.parse().expect("BENCH_JOBS is a number"));
    let (database, redis) = (TestDatabase::new().await, TestRedis::new().await);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let engine = Engine::new(redis.redis.clone(), Arc::clone(&clock));
    let shutdown = Shutdown::default();
    let budgets = Budgets::new(redis.redis.clone(), clock);
    let services = Services {
        pool: database.pool.clone(),
        engine: engine.clone(),
        budgets,
        retention: TimeDelta::days(30),
    };
    let running = services.start(&shutdown.soft);
    let note = Note::default();
    let backend = Backend::start(Settings {
        queue: Queue::Sync,
        known: KnownKinds::all(),
        slots: SLOTS,
        engine: engine.clone(),
        ledger: Ledger::new(database.pool.clone()),
        wakes: Wakes::listen(&engine, shutdown.hard.clone()).await.expect("Redis answers"),
        policy: Arc::new(|_| Policy::sync()),
        shutdown: shutdown.clone(),
        beat: Loops::default().add("bench", Duration::from_secs(60)),
    });
    let worker = tokio::spawn(WorkerBuilder::new("bench").backend(backend).build(note.clone()).run());

    latency(&database.pool, &note).await;
    throughput(&database.pool, &note, jobs).await;

    shutdown.soft.cancel();
    worker.await.expect("the worker does not panic").expect("the worker ends well");
    running.all_have_ended().await;
}

fn job(n: usize) -> NewJob {
    let payload = json!({ "seller": n, "choice": "x".repeat(100) });
    NewJob::raw("bench", Queue::Sync, &format!("seller-{}", n % GROUPS), payload, Cause::Cli)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
async fn enqueue(pool: &PgPool, jobs: &[NewJob]) {
    let mut transaction = pool.begin().await.expect("Postgres answers");
    outbox::enqueue(&mut transaction, jobs, Utc::now()).await.expect("the jobs are accepted");
    transaction.commit().await.expect("Postgres answers");
}

/// Waits until so many jobs have been settled in the ledger. Asks it only once all have started: counting rows is work too.
async fn until_done(pool: &PgPool, note: &Note, count: usize) {
    while note.started.lock().expect("no run panics").len() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    loop {
        let unfinished: bool = sqlx::query_scalar(
            "select exists (select from jobs where state in ('ready', 'delayed', 'running'))",
        )
        .fetch_one(pool)
        .await
        .expect("Postgres answers");
        if !unfinished {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn latency(pool: &PgPool, note: &Note) {
    const SAMPLES: usize = 300;
    let mut waits = Vec::with_capacity(SAMPLES);
    for n in 0..SAMPLES {
        let job = job(n);
        enqueue(pool, std::slice::from_ref(&job)).await;
        let committed = Instant::now();
        let end = committed + Duration::from_secs(5);
        let started = loop {
            let found =
                note.started.lock().expect("no run panics").iter().find(|run| run.0 == job.id).copied();
            match found {
                Some((_, at)) => break at,
                None if Instant::now() > end => panic!("a job did not start within 5 s"),
                None => tokio::time::sleep(Duration::from_micros(200)).await,
            }
        };
        waits.push(started.saturating_duration_since(committed).as_micros());
        // Idle again before the next.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    until_done(pool, note, SAMPLES).await;
    waits.sort_unstable();
    let at = |share: usize| waits[(waits.len() - 1) * share / 100];
    println!(
        "{}",
        json!({ "name": "commit_to_start", "samples": SAMPLES, "p50_us": at(50), "p99_us": at(99) })
    );
}

async fn throughput(pool: &PgPool, note: &Note, count: usize) {
    let before = note.started.lock().expect("no run panics").len();
    let jobs: Vec<_> = (0..count).map(job).collect();
    let started = Instant::now();
    for some in jobs.chunks(BATCH) {
        enqueue(pool, some).await;
    }
    let enqueued = started.elapsed();
    until_done(pool, note, before + count).await;
    let all = started.elapsed();
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
    let per_s = |took: Duration| (count as f64 / took.as_secs_f64()).round();
    println!(
        "{}",
        json!({ "name": "whole_path", "jobs": count, "per_s": per_s(all), "enqueue_per_s": per_s(enqueued) })
    );
}
