//! A whole worker for tests: apalis over the engine's backend, as in production, with a run of the test's own.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use apalis_core::{
    error::{BoxDynError, WorkerError},
    task::Task,
    worker::builder::WorkerBuilder,
};
use futures::future::BoxFuture;
use queue::{
    Engine, JobId, KnownKinds, Outcome, Policy, Run, WorkerId,
    backend::{Backend, Claim, Settings},
    lease::LEASE,
    ledger::Ledger,
    outbox::{NewJob, enqueue, relay},
    retry::RunFailed,
    wake::Wakes,
};
use runtime::{
    clock::{Clock, SystemClock},
    health::Loops,
    shutdown::Shutdown,
};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_service::Service;

use crate::deployment::{Deployment, QUEUE, eventually};

/// Short delays, so that a test sees the next attempt soon.
pub(crate) const POLICY: Policy =
    Policy::sync().max_attempts(3).delays(Duration::from_millis(20), Duration::from_millis(20));

type RunJob = Arc<dyn Fn(Run) -> BoxFuture<'static, Outcome<Value>> + Send + Sync>;

/// Where every worker of a test runs: real time, since heartbeats and polls go by it.
pub(crate) struct Works {
    pub(crate) deployment: Deployment,
    pub(crate) engine: Engine,
    _chores: DropGuard,
}

impl Works {
    /// Starts what the scheduler does beside the workers: promote what is due, rescue what was lost.
    pub(crate) async fn new() -> Self {
        let deployment = Deployment::new().await;
        let engine = Engine::new(deployment.queues.redis().clone(), Arc::new(SystemClock));
        let stop = CancellationToken::new();
        let (chores, stopped) = (engine.clone(), stop.clone());
        tokio::spawn(async move {
            while stopped.run_until_cancelled(tokio::time::sleep(Duration::from_millis(20))).await.is_some() {
                chores.promote(QUEUE).await.expect("Redis is up");
                chores.rescue(QUEUE).await.expect("Redis is up");
            }
        });
        Self { deployment, engine, _chores: stop.drop_guard() }
    }

    /// Enqueues jobs and relays them.
    pub(crate) async fn enqueue(&self, jobs: &[NewJob]) {
        let mut transaction = self.deployment.pool.begin().await.unwrap();
        enqueue(&mut transaction, jobs, SystemClock.now()).await.unwrap();
        transaction.commit().await.unwrap();
        while relay(&self.deployment.pool, &self.engine, 500).await.unwrap() > 0 {}
    }

    /// Starts a worker.
    pub(crate) async fn worker<F>(
        &self,
        slots: usize,
        run: impl Fn(Run) -> F + Send + Sync + 'static,
    ) -> Worker
    where
        F: Future<Output = Outcome<Value>> + Send + 'static,
    {
        let shutdown = Shutdown::default();
        let listening = CancellationToken::new();
        let settings = Settings {
            queue: QUEUE,
            known: KnownKinds::all(),
            slots,
            engine: self.engine.clone(),
            ledger: Ledger::new(self.deployment.pool.clone()),
            wakes: Wakes::listen(&self.engine, listening.clone()).await.unwrap(),
            policy: Arc::new(|_| POLICY),
            shutdown: shutdown.clone(),
            beat: Loops::default().add("heartbeat", LEASE),
        };
        let run: RunJob = Arc::new(move |started| Box::pin(run(started)));
        let known = self.deployment.queues.workers().await;
        let worker = WorkerBuilder::new("test").backend(Backend::start(settings)).build(RunService(run));
        let ended = tokio::spawn(worker.run());
        eventually("the new worker is on the list", async || {
            self.deployment.queues.workers().await.iter().any(|worker| !known.contains(worker))
        })
        .await;
        let id = self.deployment.queues.workers().await.into_iter().find(|worker| !known.contains(worker));
        Worker {
            id: id.expect("it was there a moment ago"),
            shutdown,
            ended,
            _listening: listening.drop_guard(),
        }
    }

    /// Waits until exactly these jobs are in this state.
    pub(crate) async fn until_all(&self, jobs: &[NewJob], state: &str) {
        let wanted = jobs.iter().map(|job| job.id).collect();
        eventually(&format!("all jobs are {state}"), async || self.deployment.ids_in(state).await == wanted)
            .await;
    }

    /// That no worker is left on the list proves that no lease is left: a worker that holds something does not resign.
    pub(crate) async fn nothing_is_leased(&self) {
        let clean = async || self.deployment.queues.workers().await.is_empty();
        eventually("all workers have resigned", clean).await;
    }
}

/// A worker that runs.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) shutdown: Shutdown,
    ended: JoinHandle<Result<(), WorkerError>>,
    _listening: DropGuard,
}

impl Worker {
    /// Takes nothing new, finishes what runs.
    pub(crate) async fn stop(self) {
        self.shutdown.soft.cancel();
        self.ended.await.expect("the worker does not panic").expect("the worker ends well");
    }

    /// Hands back what runs.
    pub(crate) async fn stop_hard(self) {
        self.shutdown.soft.cancel();
        self.shutdown.hard.cancel();
        self.ended.await.expect("the worker does not panic").expect("the worker ends well");
    }

    /// Drops it where it stands, as when the runtime that drives it goes wrong.
    pub(crate) async fn abandon(self) {
        self.ended.abort();
        assert!(self.ended.await.is_err_and(|error| error.is_cancelled()));
    }
}

#[derive(Clone)]
struct RunService(RunJob);

impl Service<Task<Claim>> for RunService {
    type Response = Value;
    type Error = BoxDynError;
    type Future = Pin<Box<dyn Future<Output = Result<Value, BoxDynError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Claim>) -> Self::Future {
        let (_, run, _, slot) = task.args.into_parts();
        let run = (self.0)(run);
        Box::pin(async move {
            let _slot = slot;
            run.await.map_err(|failure| RunFailed(failure).into())
        })
    }
}

/// How often each job was started.
#[derive(Clone, Default)]
pub(crate) struct Starts {
    by_job: Arc<Mutex<BTreeMap<JobId, u32>>>,
}

impl Starts {
    /// Counts a start and answers how many there were by now.
    pub(crate) fn count(&self, id: JobId) -> u32 {
        let mut starts = self.by_job.lock().expect("nobody panics while counting");
        let count = starts.entry(id).or_default();
        *count += 1;
        *count
    }

    pub(crate) fn of(&self, id: JobId) -> u32 {
        self.all().get(&id).copied().unwrap_or_default()
    }

    pub(crate) fn all(&self) -> BTreeMap<JobId, u32> {
        self.by_job.lock().expect("nobody panics while counting").clone()
    }

    pub(crate) async fn until(&self, id: JobId, count: u32) {
        eventually(&format!("job {id} was started {count} times"), async || self.of(id) >= count).await;
    }
}
