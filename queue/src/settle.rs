//! Tells the ledger, then Redis, how runs ended: many at once, while the next ones run.
//!
//! The layer around every run turns whatever comes out of it (a report, a failure, a panic, a lost lease) into a verdict.
//! A crash between ledger and Redis is healed at the next claim, which asks the ledger whether the job has ended.

use std::{
    collections::HashSet,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use apalis_core::{error::BoxDynError, task::Task};
use runtime::clock::Clock;
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    JobId, WorkerId,
    backend::{Claim, Settings},
    failure::Failure,
    lease::Ended,
    ledger::Settled,
    retry::{RunFailed, Verdict, verdict},
    running::Running,
    scripts::MAX_IDS,
};

/// Most runs that are settled at once.
const MAX_BATCH: usize = MAX_IDS;
/// After the hard stop, how long to wait for a database that is away before giving the results up; their leases run out
/// and the jobs run again.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// Wraps every run: spawns it, so that runs use all cores, and sends its verdict to the settler.
#[derive(Debug, Clone)]
pub struct SettleLayer {
    pub(crate) verdicts: mpsc::Sender<Settled>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) hard: CancellationToken,
}

/// A service wrapped by [`SettleLayer`].
#[derive(Debug, Clone)]
pub struct Settle<S> {
    inner: S,
    layer: SettleLayer,
}

impl<S> Layer<S> for SettleLayer {
    type Service = Settle<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Settle { inner, layer: self.clone() }
    }
}

impl<S> Service<Task<Claim>> for Settle<S>
where
    S: Service<Task<Claim>, Response = Value>,
    S::Future: Send + 'static,
    S::Error: Into<BoxDynError>,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = Pin<Box<dyn Future<Output = Result<(), BoxDynError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, task: Task<Claim>) -> Self::Future {
        let (run, policy) = (task.args.run.clone(), task.args.policy);
        let (kind, queue) = (task.args.envelope.kind.clone(), task.args.policy.queue.name());
        let layer = self.layer.clone();
        let running = self.inner.call(task);
        Box::pin(async move {
            let started = Instant::now();
            let stop = run.stop.clone();
            let spawned = tokio::spawn(async move {
                let stopped = || {
                    RunFailed(if layer.hard.is_cancelled() {
                        Failure::HandedBack
                    } else {
                        Failure::LeaseLost
                    })
                };
                if stop.is_cancelled() {
                    return Err(stopped().into());
                }
                tokio::select! {
                    // A run that ended counts, even when the stop came in the same moment.
                    biased;
                    result = running => result.map_err(Into::into),
                    () = stop.cancelled() => Err(stopped().into()),
                }
            });
            let result = match spawned.await {
                Ok(result) => result,
                // Only where no layer catches panics; what one says may hold anything, so it is not stored.
                Err(_) => Err("the run panicked".into()),
            };
            let verdict = verdict(result, &policy, run.attempt - 1, layer.clock.now(), rand::random());
            note(&verdict, &kind, queue, started.elapsed());
            let settled = Settled { id: run.id, fence: run.fence, verdict };
            layer.verdicts.send(settled).await.map_err(|_| "the settler is gone".into())
        })
    }
}

fn note(verdict: &Verdict, kind: &str, queue: &'static str, took: Duration) {
    let outcome = match verdict {
        Verdict::Done { .. } => "done",
        Verdict::Retry { .. } => "retry",
        Verdict::Snooze { .. } => "snooze",
        Verdict::Dead { .. } => "dead",
        Verdict::Cancelled { .. } => "cancelled",
        Verdict::HandBack => "handed_back",
        Verdict::LeaseLost => "lease_lost",
    };
    let kind = kind.to_owned();
    metrics::counter!("runs_total", "kind" => kind.clone(), "queue" => queue, "outcome" => outcome)
        .increment(1);
    metrics::histogram!("run_seconds", "kind" => kind).record(took.as_secs_f64());
}

pub(crate) struct Settler {
    pub(crate) settings: Settings,
    pub(crate) worker: WorkerId,
    pub(crate) running: Running,
    pub(crate) verdicts: mpsc::Receiver<Settled>,
    /// Cancelled when no run is left: settle what has been sent, then end.
    pub(crate) closing: CancellationToken,
}

impl Settler {
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        loop {
            let closing = self.closing.clone();
            let received = tokio::select! {
                biased;
                count = self.verdicts.recv_many(&mut batch, MAX_BATCH) => count,
                () = closing.cancelled() => 0,
            };
            if received == 0 {
                break;
            }
            self.settle(&batch).await;
            batch.clear();
        }
        if let Err(error) = self.settings.engine.resign(self.settings.queue, self.worker).await {
            tracing::debug!(%error, "could not take the worker off the list; its lease will run out");
        }
    }

    async fn settle(&self, batch: &[Settled]) {
        let Some(accepted) = self.tell_ledger(batch).await else { return };
        // Only what this worker holds under the same token: a later run of the same job may be its own.
        let held: HashSet<JobId> =
            self.running.remove(batch.iter().map(|run| (run.id, run.fence))).into_iter().collect();
        let mut ended = Ended::default();
        for run in batch.iter().filter(|run| held.contains(&run.id)) {
            let counts = accepted.contains(&run.id);
            match &run.verdict {
                Verdict::Retry { due_at, .. } | Verdict::Snooze { due_at, .. } if counts => {
                    ended.delayed.push((run.id, *due_at));
                }
                Verdict::HandBack if counts => ended.handed_back.push(run.id),
                Verdict::LeaseLost => {}
                // Refused: somebody ended or took it meanwhile. Either way this worker need not hold it.
                _ => ended.finished.push(run.id),
            }
            if !counts && run.verdict != Verdict::LeaseLost {
                metrics::counter!("settlements_refused_total", "queue" => self.settings.queue.name())
                    .increment(1);
                tracing::warn!(job.id = %run.id, "the ledger refused a result: the job ended or runs elsewhere by now");
            }
        }
        if let Err(error) = self.settings.engine.end_leases(self.settings.queue, self.worker, &ended).await {
            tracing::warn!(%error, "could not end leases; the next claims will ask the ledger");
        }
    }

    /// Tells the ledger, however long Postgres is away; `None` when it stays away after the hard stop.
    async fn tell_ledger(&self, batch: &[Settled]) -> Option<HashSet<JobId>> {
        let hard = &self.settings.shutdown.hard;
        let mut pause = Duration::from_millis(50);
        let mut patience_ends = None;
        loop {
            match self.settings.ledger.settle(batch, self.settings.engine.clock().now()).await {
                Ok(accepted) => return Some(accepted),
                Err(error) => {
                    tracing::warn!(%error, jobs.waiting = batch.len(), "could not settle in the ledger");
                    if hard.is_cancelled() {
                        let end = *patience_ends.get_or_insert_with(|| Instant::now() + LAST_PATIENCE);
                        if Instant::now() >= end {
                            tracing::error!(
                                jobs.lost_results = batch.len(),
                                "giving results up; their jobs will run again"
                            );
                            return None;
                        }
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
        }
    }
}
