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
    JobId, Signals, WorkerId,
    backend::{Claim, Settings},
    cancel::GRACE,
    failure::Failure,
    lease::Ended,
    ledger::Settled,
    recovery::Overtaken,
    retry::{RunFailed, Verdict, verdict},
    run_metrics::RunMetrics,
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
    pub(crate) verdicts: mpsc::Sender<Ran>,
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
        let kind = task.args.envelope.kind.clone();
        let layer = self.layer.clone();
        let running = self.inner.call(task);
        Box::pin(async move {
            let started = Instant::now();
            let signals = run.signals.clone();
            let spawned = tokio::spawn(async move {
                let stopped = || {
                    RunFailed(if layer.hard.is_cancelled() {
                        Failure::HandedBack
                    } else {
                        Failure::LeaseLost
                    })
                };
                if signals.is_dropped() {
                    return Err(stopped().into());
                }
                tokio::select! {
                    // A run that ended counts, even when the stop came in the same moment.
                    biased;
                    result = running => result.map_err(Into::into),
                    () = signals.until_dropped() => Err(stopped().into()),
                    () = overdue(&signals) => Err(RunFailed(Failure::cancel(format!(
                        "the run did not stop within {} s after it was asked to",
                        GRACE.as_secs()
                    ))).into()),
                }
            });
            let result = match spawned.await {
                Ok(result) => result,
                // Only where no layer catches panics; what one says may hold anything, so it is not stored.
                Err(_) => Err("the run panicked".into()),
            };
            let verdict = verdict(result, &policy, run.attempt - 1, layer.clock.now(), rand::random());
            let settled = Settled { id: run.id, fence: run.fence, verdict };
            let ran = Ran { settled, kind, took: started.elapsed() };
            layer.verdicts.send(ran).await.map_err(|_| "the settler is gone".into())
        })
    }
}

/// Ends when a run that was asked to stop has gone on for too long.
async fn overdue(signals: &Signals) {
    signals.until_asked_to_stop().await;
    tokio::time::sleep(GRACE).await;
}

/// A run that has ended, on its way to the settler.
#[derive(Debug)]
pub(crate) struct Ran {
    settled: Settled,
    kind: String,
    took: Duration,
}

pub(crate) struct Settler {
    pub(crate) settings: Settings,
    pub(crate) worker: WorkerId,
    pub(crate) running: Running,
    pub(crate) verdicts: mpsc::Receiver<Ran>,
    /// Cancelled when no run is left: settle what has been sent, then end.
    pub(crate) closing: CancellationToken,
}

impl Settler {
    pub(crate) async fn run(mut self) {
        let mut ran: Vec<Ran> = Vec::with_capacity(MAX_BATCH);
        let mut metrics = RunMetrics::default();
        loop {
            let closing = self.closing.clone();
            let received = tokio::select! {
                biased;
                count = self.verdicts.recv_many(&mut ran, MAX_BATCH) => count,
                () = closing.cancelled() => 0,
            };
            if received == 0 {
                break;
            }
            for run in &ran {
                metrics.count(self.settings.queue, &run.kind, &run.settled.verdict, run.took);
            }
            let batch: Vec<_> = ran.drain(..).map(|run| run.settled).collect();
            self.settle(&batch).await;
        }
        if let Err(error) = self.settings.engine.resign(self.settings.queue, self.worker).await {
            tracing::debug!(%error, "could not take the worker off the list; its lease will run out");
        }
        let now = self.settings.engine.clock().now();
        if let Err(error) = self.settings.ledger.say_goodbye(self.worker, now).await {
            tracing::debug!(%error, "could not write that the worker has ended");
        }
    }

    async fn settle(&self, batch: &[Settled]) {
        let Some(accepted) = self.tell_ledger(batch).await else { return };
        // Only what this worker holds under the same token: a later run of the same job may be its own.
        let held: HashSet<JobId> =
            self.running.remove(batch.iter().map(|run| (run.id, run.fence))).into_iter().collect();
        let mut ended = Ended::default();
        let mut refused = Vec::new();
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
            if !counts {
                let finished = !matches!(run.verdict, Verdict::LeaseLost | Verdict::HandBack);
                refused.push(Overtaken { job: run.id, fence: run.fence, finished });
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
        let now = self.settings.engine.clock().now();
        if let Err(error) = self.settings.ledger.note_overtaken(self.worker, &refused, now).await {
            tracing::warn!(%error, "could not note runs that were overtaken");
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
