//! Makes delayed jobs ready when their moment has come.

use std::time::Duration;

use queue::Queue;
use redis::RedisError;

use crate::services::{Service, Services};

/// Longest rest: a job that was delayed meanwhile may be due before the one that was next.
const LONGEST_REST: Duration = Duration::from_millis(250);

pub(super) struct Promote {
    services: Services,
}

impl Promote {
    pub(super) const fn new(services: Services) -> Self {
        Self { services }
    }
}

impl Service for Promote {
    const NAME: &'static str = "promote";
    type Error = RedisError;

    async fn pass(&mut self) -> Result<Duration, RedisError> {
        promote_all(&self.services).await
    }
}

/// One pass over all queues. Returns how long nothing is due.
async fn promote_all(services: &Services) -> Result<Duration, RedisError> {
    let mut rest = LONGEST_REST;
    for queue in Queue::ALL {
        let mut moved = 0;
        let next = loop {
            let promoted = services.engine.promote(queue).await?;
            moved += promoted.moved;
            if promoted.moved == 0 {
                break promoted.next_due_at;
            }
        };
        if moved > 0 {
            metrics::counter!("jobs_promoted_total", "queue" => queue.name()).increment(moved as u64);
        }
        if let Some(next) = next {
            let until = (next - services.engine.clock().now()).to_std().unwrap_or_default();
            rest = rest.min(until.max(Duration::from_millis(1)));
        }
    }
    Ok(rest)
}
