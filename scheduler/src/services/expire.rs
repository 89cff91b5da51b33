//! Cancels jobs that have expired and that no worker has asked for: their queue is paused, or has no worker.

use std::time::Duration;

use queue::expiry;

use crate::services::{Service, Services};

const TURN: Duration = Duration::from_secs(1);
/// Most jobs of one pass; a pass is one transaction.
const BATCH: i64 = 500;

pub(super) struct Expire {
    services: Services,
}

impl Expire {
    pub(super) const fn new(services: Services) -> Self {
        Self { services }
    }
}

impl Service for Expire {
    const NAME: &'static str = "expire";
    type Error = sqlx::Error;

    async fn pass(&mut self) -> Result<Duration, sqlx::Error> {
        let now = self.services.engine.clock().now();
        let count = expiry::sweep(&self.services.pool, now, BATCH).await?;
        if count > 0 {
            tracing::info!(jobs.expired = count, "cancelled jobs that had expired");
        }
        let full = usize::try_from(BATCH).is_ok_and(|batch| count == batch);
        Ok(if full { Duration::ZERO } else { TURN })
    }
}
