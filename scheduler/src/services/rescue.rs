//! Makes ready again what lost workers held, once their leases have ended.
//!
//! After Redis was away, all leases look ended although their workers live: then a full lease is waited first, in which
//! they renew.

use std::time::Duration;

use queue::{Queue, lease::LEASE};
use redis::RedisError;
use tokio::time::Instant;

use crate::services::{Service, Services};

const TURN: Duration = Duration::from_secs(1);

/// Rescues on one queue: on a Redis Cluster others may lie on a node that is away.
pub(super) struct Rescue {
    services: Services,
    queue: Queue,
    not_before: Instant,
}

impl Rescue {
    pub(super) fn new(services: Services, queue: Queue) -> Self {
        Self { services, queue, not_before: Instant::now() }
    }

    async fn rescue(&self) -> Result<(), RedisError> {
        let queue = self.queue.name();
        while let Some(rescued) = self.services.engine.rescue(self.queue).await? {
            metrics::counter!("jobs_rescued_total", "queue" => queue).increment(rescued.jobs as u64);
            if rescued.jobs > 0 {
                let (worker, jobs) = (rescued.worker, rescued.jobs);
                tracing::warn!(queue.name = queue, worker.id = %worker, jobs.rescued = jobs, "a worker was lost");
            }
        }
        Ok(())
    }
}

impl Service for Rescue {
    const NAME: &'static str = "rescue";
    type Error = RedisError;

    async fn pass(&mut self) -> Result<Duration, RedisError> {
        let passed = if Instant::now() < self.not_before {
            self.services.engine.is_open(self.queue).await.map(drop)
        } else {
            self.rescue().await
        };
        passed.inspect_err(|_| self.not_before = Instant::now() + LEASE)?;
        Ok(TURN)
    }
}
