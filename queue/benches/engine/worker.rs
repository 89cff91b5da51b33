//! A worker as in production, with runs that do nothing and a ledger in memory.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use apalis_core::{error::WorkerError, task::Task, worker::builder::WorkerBuilder};
use chrono::{DateTime, Utc};
use queue::{
    Controls, Engine, JobId, KnownKinds, Policy, Priority, Queue,
    backend::{Backend, Claim, Settings},
    envelope::Envelope,
    retry::RunFailed,
    testing::no_ledger,
    wake::Wakes,
};
use runtime::{
    clock::{Clock, SystemClock},
    health::Loops,
    shutdown::Shutdown,
};
use serde_json::Value;
use tokio::{sync::Notify, task::JoinHandle};
use uuid::Uuid;

use crate::redis_server::Server;

pub(crate) const QUEUE: Queue = Queue::Sync;
/// Jobs that run at once.
const SLOTS: usize = 1_024;

/// Jobs with a payload of so many bytes.
pub(crate) fn jobs(count: usize, groups: usize, payload: usize) -> Vec<Envelope> {
    let text = format!("{{\"pad\":\"{}\"}}", "x".repeat(payload - 10));
    (0..count)
        .map(|n| Envelope {
            id: JobId::new(),
            priority: Priority::Normal,
            version: 1,
            group: format!("seller-{}", n % groups),
            kind: "bench".to_owned(),
            payload: text.clone().into_bytes(),
        })
        .collect()
}

type Ended = JoinHandle<Result<(), WorkerError>>;

/// Does nothing, and tells how often and when it was asked to.
#[derive(Clone, Default)]
struct NoOp {
    runs: Arc<AtomicUsize>,
    until: Arc<AtomicUsize>,
    done: Arc<Notify>,
    last: Arc<Mutex<Option<(JobId, Instant)>>>,
    note_start: bool,
}

impl tower_service::Service<Task<Claim>> for NoOp {
    type Response = Value;
    type Error = RunFailed;
    type Future = std::future::Ready<Result<Value, RunFailed>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), RunFailed>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Claim>) -> Self::Future {
        if self.note_start {
            *self.last.lock().expect("no run panics") = Some((task.args.run.id, Instant::now()));
        }
        let runs = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        if runs == self.until.load(Ordering::Relaxed) || self.note_start {
            self.done.notify_one();
        }
        std::future::ready(Ok(Value::Null))
    }
}

/// A queue of its own on the measured server.
pub(crate) struct Setup {
    pub(crate) engine: Engine,
    prefix: String,
    shutdown: Shutdown,
    worker: Mutex<Option<(NoOp, Ended)>>,
}

impl Setup {
    pub(crate) async fn new(server: &Server) -> Self {
        let prefix = format!("bench-{}", Uuid::new_v4().simple());
        let engine = Engine::new(server.open(&prefix).await, Arc::new(SystemClock));
        engine.control(QUEUE, &Controls::default()).await.expect("Redis answers");
        Self { engine, prefix, shutdown: Shutdown::default(), worker: Mutex::default() }
    }

    /// Lets the server load every script and make its buffers.
    pub(crate) async fn warm_up(&self) {
        self.push(&jobs(1_000, 10, 140)).await;
        let worker = queue::WorkerId::new();
        loop {
            let claimed =
                self.engine.claim(QUEUE, worker, 256, &KnownKinds::all()).await.expect("Redis answers");
            if claimed.entries.is_empty() {
                break;
            }
            let finished = claimed.entries.iter().filter_map(|entry| Envelope::id_of(entry)).collect();
            let ended = queue::lease::Ended { finished, ..queue::lease::Ended::default() };
            self.engine.end_leases(QUEUE, worker, &ended).await.expect("Redis answers");
        }
        self.engine.resign(QUEUE, worker).await.expect("Redis answers");
    }

    pub(crate) async fn push(&self, jobs: &[Envelope]) {
        self.push_at(jobs, None).await;
    }

    /// Due already, but among the delayed.
    pub(crate) async fn push_delayed(&self, jobs: &[Envelope]) {
        self.push_at(jobs, Some(SystemClock.now() - Duration::from_secs(1))).await;
    }

    async fn push_at(&self, jobs: &[Envelope], due: Option<DateTime<Utc>>) {
        for some in jobs.chunks(10_000) {
            let entries: Vec<_> = some.iter().map(|job| (due, job.clone())).collect();
            self.engine.push(QUEUE, &entries).await.expect("Redis answers");
        }
    }

    async fn worker(&self, run: NoOp) {
        let settings = Settings {
            queue: QUEUE,
            known: KnownKinds::all(),
            slots: SLOTS,
            engine: self.engine.clone(),
            ledger: no_ledger(),
            wakes: Wakes::listen(&self.engine, self.shutdown.hard.clone()).await.expect("Redis answers"),
            policy: Arc::new(|_| Policy::sync()),
            shutdown: self.shutdown.clone(),
            beat: Loops::default().add("bench", Duration::from_secs(60)),
        };
        let worker = WorkerBuilder::new("bench").backend(Backend::start(settings)).build(run.clone());
        let running = tokio::spawn(worker.run());
        *self.worker.lock().expect("nobody panics") = Some((run, running));
    }

    /// Runs a worker until `count` jobs have run and are settled in Redis, or as many as there are. Returns how long that
    /// took.
    pub(crate) async fn run(&self, count: usize) -> Duration {
        let run = NoOp { until: Arc::new(AtomicUsize::new(count)), ..NoOp::default() };
        let started = Instant::now();
        self.worker(run.clone()).await;
        run.done.notified().await;
        started.elapsed()
    }

    /// Starts a worker that waits for jobs.
    pub(crate) async fn start_worker(&self) {
        self.worker(NoOp { note_start: true, ..NoOp::default() }).await;
        // Until it has looked once and sleeps.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    /// From the push of a job to the start of its run.
    pub(crate) async fn pick_up(&self, job: Envelope) -> Duration {
        let run = self
            .worker
            .lock()
            .expect("nobody panics")
            .as_ref()
            .map(|(run, _)| run.clone())
            .expect("a worker runs");
        let id = job.id;
        let entry = [(None, job)];
        let started = Instant::now();
        self.engine.push(QUEUE, &entry).await.expect("Redis answers");
        loop {
            run.done.notified().await;
            if let Some((last, at)) = *run.last.lock().expect("nobody panics")
                && last == id
            {
                return at - started;
            }
        }
    }

    /// Stops the worker in good order: everything it took is settled.
    pub(crate) async fn stop(&self) {
        let worker = self.worker.lock().expect("nobody panics").take();
        self.shutdown.soft.cancel();
        if let Some((_, running)) = worker {
            running.await.expect("the worker does not panic").expect("the worker ends well");
        }
        self.shutdown.hard.cancel();
    }

    pub(crate) async fn clear(&self, server: &mut Server) {
        server.delete(&self.prefix).await;
    }
}
