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

pub(super) struct Rescue {
    services: Services,
    not_before: Instant,
}

impl Rescue {
    pub(super) fn new(services: Services) -> Self {
        Self { services, not_before: Instant::now() }
    }
}

impl Service for Rescue {
    const NAME: &'static str = "rescue";
    type Error = RedisError;

    async fn pass(&mut self) -> Result<Duration, RedisError> {
        if Instant::now() < self.not_before {
            self.services.engine.ping().await.inspect_err(|_| self.not_before = Instant::now() + LEASE)?;
            return Ok(TURN);
        }
        rescue_all(&self.services).await.inspect_err(|_| self.not_before = Instant::now() + LEASE)?;
        Ok(TURN)
    }
}

async fn rescue_all(services: &Services) -> Result<(), RedisError> {
    for queue in Queue::ALL {
        while let Some(rescued) = services.engine.rescue(queue).await? {
            metrics::counter!("jobs_rescued_total", "queue" => queue.name()).increment(rescued.jobs as u64);
            if rescued.jobs > 0 {
                let (worker, jobs) = (rescued.worker, rescued.jobs);
                tracing::warn!(queue.name = queue.name(), worker.id = %worker, jobs.rescued = jobs, "a worker was lost");
            }
        }
    }
    Ok(())
}
