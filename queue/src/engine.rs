//! The Redis side of the queues. What it does is told in `ready`, `lease` and `reconcile`.

use std::sync::Arc;

use runtime::{
    clock::Clock,
    redis::{Connection, Redis},
};

use crate::{keys::QueueKeys, policy::Queue};

/// A handle to the queues of a deployment. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Engine {
    redis: Redis,
    clock: Arc<dyn Clock>,
}

impl Engine {
    /// The queues in `redis`, at the time that `clock` tells.
    #[must_use]
    pub fn new(redis: Redis, clock: Arc<dyn Clock>) -> Self {
        Self { redis, clock }
    }

    /// Where time comes from.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn shared_clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// The connection and the prefix.
    #[must_use]
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    pub(crate) fn keys(&self, queue: Queue) -> QueueKeys {
        QueueKeys::new(self.redis.prefix(), queue)
    }

    pub(crate) fn connection(&self) -> Connection {
        self.redis.connection()
    }
}
