//! Says which jobs wait for a worker that knows their kind, or their version of it.
//!
//! Workers leave them alone, so that a release can be rolled out without a job taken by the wrong one. A kind that nobody
//! knows would wait in silence for ever; so it is told, again and again until it is gone. Changes nothing.

use std::time::Duration;

use jobs::catalog::CATALOG;
use queue::Queue;
use redis::RedisError;

use crate::services::{Service, Services};

/// Longer than a release takes to start its workers, so that a usual one tells nothing.
const TURN: Duration = Duration::from_secs(10);

pub(super) struct UnknownKinds {
    services: Services,
}

impl UnknownKinds {
    pub(super) const fn new(services: Services) -> Self {
        Self { services }
    }
}

impl Service for UnknownKinds {
    const NAME: &'static str = "unknown_kinds";
    type Error = RedisError;

    async fn pass(&mut self) -> Result<Duration, RedisError> {
        for queue in Queue::ALL {
            let waiting = self.services.engine.waiting_kinds(queue).await?;
            let unknown: Vec<_> =
                waiting.into_iter().filter(|(kind, version)| !CATALOG.runs(kind, *version)).collect();
            #[expect(clippy::cast_precision_loss, reason = "a handful")]
            metrics::gauge!("unknown_kinds", "queue" => queue.name()).set(unknown.len() as f64);
            for (kind, version) in unknown {
                tracing::warn!(
                    queue.name = queue.name(),
                    job.kind = kind,
                    job.version = version,
                    "jobs wait for a worker that knows their kind and version"
                );
            }
        }
        Ok(TURN)
    }
}
