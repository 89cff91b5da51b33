//! Makes delayed jobs ready when their moment has come.

use std::time::Duration;

use queue::Queue;
use redis::RedisError;

use crate::services::{Service, Services};

/// Longest rest: a job that was delayed meanwhile may be due before the one that was next.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// Promotes on one queue: on a Redis Cluster others may lie on a node that is away.
pub(super) struct Promote {
    services: Services,
    queue: Queue,
}

impl Promote {
    pub(super) const fn new(services: Services, queue: Queue) -> Self {
        Self { services, queue }
    }
}

impl Service for Promote {
    const NAME: &'static str = "promote";
    type Error = RedisError;

    async fn pass(&mut self) -> Result<Duration, RedisError> {
        let engine = &self.services.engine;
        let mut moved = 0;
        let next = loop {
            let promoted = engine.promote(self.queue).await?;
            moved += promoted.moved;
            if promoted.moved == 0 {
                break promoted.next_due_at;
            }
        };
        if moved > 0 {
            metrics::counter!("jobs_promoted_total", "queue" => self.queue.name()).increment(moved as u64);
        }
        Ok(next.map_or(LONGEST_REST, |next| {
            let until = (next - engine.clock().now()).to_std().unwrap_or_default();
            until.clamp(Duration::from_millis(1), LONGEST_REST)
        }))
    }
}
