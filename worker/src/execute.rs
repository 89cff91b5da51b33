//! The only place where a job runs: finds its kind, reads its payload, runs it within its time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use apalis_core::task::Task;
use futures::future::BoxFuture;
use jobs::context::Context;
use queue::{
    Catalog, Failure, Policy, Run, backend::Claim, envelope::Envelope, escalations, failure, retry::RunFailed,
};
use serde_json::Value;
use tracing::{Instrument, Span, field::Empty};

/// Whether a run begins late is only told, so a database that is slow to say so is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The service at the centre of a worker's layers.
#[derive(Clone)]
pub(crate) struct Execute {
    pub(crate) context: Arc<Context>,
    pub(crate) catalog: &'static Catalog<Context>,
}

impl tower_service::Service<Task<Claim>> for Execute {
    type Response = Value;
    type Error = RunFailed;
    type Future = BoxFuture<'static, Result<Value, RunFailed>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Claim>) -> Self::Future {
        let (envelope, run, policy, slot) = task.args.into_parts();
        let this = self.clone();
        let span = span(&envelope, &run);
        Box::pin(
            async move {
                // Free again when this future ends, however it ends.
                let _slot = slot;
                this.execute(envelope, run, policy).await.map_err(RunFailed)
            }
            .instrument(span),
        )
    }
}

/// What every line inside a run says; the trace's fields only where the job belongs to one.
fn span(envelope: &Envelope, run: &Run) -> Span {
    let span = tracing::info_span!(
        "run",
        job.id = %run.id,
        job.kind = envelope.kind,
        job.attempt = run.attempt,
        trace.id = Empty,
        trace.span = Empty,
        trace.parent = Empty,
    );
    if let Some(trace) = run.trace {
        span.record("trace.id", trace.trace_id());
        span.record("trace.span", trace.span_id());
        span.record("trace.parent", trace.parent_id());
    }
    span
}

impl Execute {
    async fn execute(&self, envelope: Envelope, run: Run, policy: Policy) -> Result<Value, Failure> {
        let started = Instant::now();
        let late = self.tell_if_late(&envelope, run.clone());
        let (result, ()) = tokio::join!(self.run_within_its_time(&envelope, run, policy), late);
        let took_ms = started.elapsed().as_millis();
        match &result {
            Ok(report) => tracing::info!(run.ms = took_ms, %report, "done"),
            Err(Failure::Retry { error, .. }) => {
                tracing::warn!(run.ms = took_ms, error = failure::chain(error.as_ref()), "failed");
            }
            Err(Failure::Snooze { until, waits_for }) => {
                tracing::debug!(run.ms = took_ms, %until, waits_for, "snoozes");
            }
            Err(Failure::Reject { error }) => {
                tracing::error!(run.ms = took_ms, error = failure::chain(error.as_ref()), "rejected");
            }
            Err(Failure::Cancel { reason }) => tracing::info!(run.ms = took_ms, reason, "cancelled"),
            Err(Failure::HandedBack | Failure::LeaseLost) => {}
        }
        result
    }

    /// A run that begins late is not silent. The alarm has been raised before, by the scheduler.
    async fn tell_if_late(&self, envelope: &Envelope, run: Run) {
        let Some(deadline_at) = run.deadline_at else { return };
        let now = self.context.clock.now();
        let late = |after: &'static str| {
            metrics::counter!("late_starts_total", "kind" => envelope.kind.clone(), "after" => after)
                .increment(1);
        };
        if now > deadline_at {
            late("deadline");
            tracing::warn!(deadline.at = %deadline_at, "begins after its deadline");
            return;
        }
        let seen = async {
            let mut connection = self.context.pool.acquire().await?;
            escalations::latest_safe_start(&mut connection, run.id).await
        };
        match tokio::time::timeout(PATIENCE, seen).await {
            Ok(Ok(Some(latest_safe_start))) if now > latest_safe_start => {
                late("latest safe start");
                tracing::warn!(deadline.at = %deadline_at, %latest_safe_start, "begins after its latest safe start");
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = failure::chain(&error), "could not ask for the latest safe start");
            }
            Err(_) => tracing::debug!("did not wait any longer for the latest safe start"),
        }
    }

    async fn run_within_its_time(
        &self,
        envelope: &Envelope,
        run: Run,
        policy: Policy,
    ) -> Result<Value, Failure> {
        let kind = self.catalog.kind_to_run(&envelope.kind, run.version, self.context.clock.now())?;
        let payload: Value = serde_json::from_slice(&envelope.payload)
            .map_err(|error| Failure::reject(format!("the payload is not JSON ({:?})", error.classify())))?;
        let running = kind.execute(Arc::clone(&self.context), payload, run);
        match tokio::time::timeout(policy.timeout, running).await {
            Ok(result) => result,
            Err(_) => Err(Failure::retry(format!(
                "the run was stopped after {} s, the longest time that its kind allows",
                policy.timeout.as_secs()
            ))),
        }
    }
}
