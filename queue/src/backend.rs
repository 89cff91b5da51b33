//! The engine as a backend of apalis, the worker runtime: apalis drives the runs through its tower layers, the fetcher,
//! the heartbeat and the settler do the rest beside it.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use apalis_core::{
    backend::{Backend as ApalisBackend, BackendConfig, finalize::Ephemeral},
    task::Task,
    worker::context::WorkerContext,
};
use futures::FutureExt;
use runtime::{health::Beat, shutdown::Shutdown};
use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Engine, Policy, Queue, Run, WorkerId,
    attend::attend,
    envelope::Envelope,
    fetch::Fetcher,
    heartbeat,
    lease::KnownKinds,
    ledger::Ledger,
    running::Running,
    settle::{SettleLayer, Settler},
    wake::Wakes,
};

/// What a worker on one queue needs.
#[derive(Clone)]
pub struct Settings {
    /// The queue.
    pub queue: Queue,
    /// The kinds that it takes.
    pub known: KnownKinds,
    /// How many jobs run at once.
    pub slots: usize,
    /// The Redis side.
    pub engine: Engine,
    /// The memory.
    pub ledger: Ledger,
    /// What wakes an idle fetcher.
    pub wakes: Wakes,
    /// The policy of a kind, by its name; for an unknown one, any: its runs will be rejected.
    pub policy: Arc<dyn Fn(&str) -> Policy + Send + Sync>,
    /// When to stop.
    pub shutdown: Shutdown,
    /// Told each time the worker tried to renew its lease: the sign that it lives.
    pub beat: Beat,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("queue", &self.queue)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

/// A job that this worker holds and has begun to run.
#[derive(Debug)]
pub struct Claim {
    /// The job.
    pub envelope: Envelope,
    /// This run of it.
    pub run: Run,
    /// Its kind's policy.
    pub policy: Policy,
    /// Its slot; free when the run has ended.
    pub(crate) permit: OwnedSemaphorePermit,
}

impl Claim {
    /// Splits off the slot, which is free again when it is dropped.
    #[must_use]
    pub fn into_parts(self) -> (Envelope, Run, Policy, Slot) {
        (self.envelope, self.run, self.policy, Slot { _permit: self.permit })
    }
}

/// A worker's slot, taken while this lives.
#[derive(Debug)]
pub struct Slot {
    _permit: OwnedSemaphorePermit,
}

/// One worker on one queue. Must be made inside a tokio runtime: it starts its fetcher, heartbeat and settler at once.
pub struct Backend {
    tasks: mpsc::Receiver<Task<Claim>>,
    layer: SettleLayer,
    settler: Option<JoinHandle<()>>,
    closing: CancellationToken,
    alive: CancellationToken,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

/// Why a worker ended badly.
#[derive(Debug, Error)]
pub enum BackendError {
    /// The task that settles runs panicked: a bug.
    #[error("the settler ended badly")]
    Settler(#[source] tokio::task::JoinError),
}

impl Backend {
    /// Starts a worker.
    #[must_use]
    pub fn start(settings: Settings) -> Self {
        let worker = WorkerId::new();
        // The ledger and other processes name a worker by this id alone: without this line nobody could tell whose it is.
        tracing::info!(queue.name = settings.queue.name(), worker.id = %worker, "a worker begins");
        let running = Running::default();
        let (task_sender, tasks) = mpsc::channel(settings.slots.max(1));
        let (verdict_sender, verdicts) = mpsc::channel(1_024);
        let closing = CancellationToken::new();
        let alive = CancellationToken::new();
        let layer = SettleLayer {
            verdicts: verdict_sender,
            clock: settings.engine.shared_clock(),
            hard: settings.shutdown.hard.clone(),
        };
        tokio::spawn(heartbeat::keep(settings.clone(), worker, running.clone(), alive.clone()));
        tokio::spawn(attend(settings.clone(), worker, running.clone(), alive.clone()));
        tokio::spawn(introduce(settings.clone(), worker, alive.clone()));
        tokio::spawn(stop_all_at(settings.shutdown.hard.clone(), running.clone(), alive.clone()));
        let fetcher = Fetcher {
            slots: Arc::new(Semaphore::new(settings.slots)),
            settings: settings.clone(),
            worker,
            running: running.clone(),
            tasks: task_sender,
        };
        tokio::spawn(fetcher.run());
        let settler = Settler { settings, worker, running, verdicts, closing: closing.clone() };
        let settler = Some(tokio::spawn(settler.run()));
        Self { tasks, layer, settler, closing, alive }
    }
}

/// One watcher for all runs: a token for each, hung under the hard stop, costs more than the run of a small job.
async fn stop_all_at(hard: CancellationToken, running: Running, alive: CancellationToken) {
    if alive.run_until_cancelled(hard.cancelled()).await.is_some() {
        running.stop_all();
    }
}

/// Rest between two tries to write who a worker is.
const INTRODUCED_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// The worker's name, place and release, for people; it works without them.
async fn introduce(settings: Settings, worker: WorkerId, alive: CancellationToken) {
    let (ledger, started_at) = (&settings.ledger, settings.engine.clock().now());
    while let Err(error) = ledger.introduce(worker, settings.queue, settings.slots, started_at).await {
        tracing::debug!(%error, "could not write who the worker is");
        if alive.run_until_cancelled(tokio::time::sleep(INTRODUCED_AGAIN_AFTER)).await.is_none() {
            return;
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.alive.cancel();
    }
}

impl ApalisBackend for Backend {
    type Task = Task<Claim>;
    type Error = BackendError;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Self::Error>>> {
        let task = ready!(self.tasks.poll_recv(context));
        // Ends when the fetcher has stopped and all that it took has been started. Apalis finishes what runs, but ends
        // only if told to; told earlier, it would leave behind what was taken and not yet started.
        if task.is_none()
            && let Err(error) = worker.stop()
        {
            tracing::debug!(%error, "the worker was not running any more");
        }
        Poll::Ready(task.map(Ok))
    }

    fn poll_close(&mut self, context: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Self::Error>> {
        // No run is left, so every verdict has been sent.
        self.closing.cancel();
        let Some(settler) = self.settler.as_mut() else { return Poll::Ready(Ok(())) };
        let ended = ready!(settler.poll_unpin(context));
        self.settler = None;
        self.alive.cancel();
        Poll::Ready(ended.map_err(BackendError::Settler))
    }
}

impl BackendConfig for Backend {
    type Args = Claim;
    type Id = crate::JobId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = SettleLayer;

    fn config(&self) -> &Self::Config {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Self::Layer {
        self.layer.clone()
    }
}
