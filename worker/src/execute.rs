//! The only place where a job runs: finds its kind, reads its payload, runs it within its time.

use std::{sync::Arc, time::Instant};

use apalis_core::task::Task;
use futures::future::BoxFuture;
use jobs::context::Context;
use queue::{Catalog, Failure, Policy, Run, backend::Claim, envelope::Envelope, failure, retry::RunFailed};
use serde_json::Value;
use tracing::{Instrument, Span, field::Empty};

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
        let result = self.run_within_its_time(&envelope, run, policy).await;
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
