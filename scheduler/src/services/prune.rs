//! Deletes jobs that were done or cancelled long ago, a bounded batch at a time.
//!
//! Rests as long as a batch took, so that it never takes more than half of what the database can do, and stops between two
//! batches when the term ends.

use std::time::Duration;

use queue::prune::{self, MAX_PRUNED};
use tokio::time::Instant;

use crate::services::{Service, Services};

/// Between two looks when nothing is left to delete.
const TURN: Duration = Duration::from_secs(300);
const SHORTEST_REST: Duration = Duration::from_millis(50);

pub(super) struct Prune {
    services: Services,
    /// Deleted since the last rest.
    pruned: usize,
}

impl Prune {
    pub(super) const fn new(services: Services) -> Self {
        Self { services, pruned: 0 }
    }
}

impl Service for Prune {
    const NAME: &'static str = "prune";
    type Error = sqlx::Error;

    async fn pass(&mut self) -> Result<Duration, sqlx::Error> {
        let (pool, now) = (&self.services.pool, self.services.engine.clock().now());
        let ended_before = now - self.services.retention;
        let started = Instant::now();
        let count = prune::prune_jobs(pool, ended_before, now).await?;
        metrics::counter!("jobs_pruned_total").increment(count as u64);
        self.pruned += count;
        if count == MAX_PRUNED {
            return Ok(started.elapsed().max(SHORTEST_REST));
        }
        while prune::prune_batches(pool, ended_before).await? == MAX_PRUNED {
            tokio::time::sleep(SHORTEST_REST).await;
        }
        if self.pruned > 0 {
            tracing::info!(jobs.pruned = self.pruned, "deleted jobs that ended long ago");
            self.pruned = 0;
        }
        Ok(TURN)
    }
}
