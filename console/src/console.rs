//! What the console's pages and API read from and change.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use jobs::keyring::Keyring;
use queue::{Engine, limit::Budgets};
use runtime::{clock::Clock, redis::Redis};
use sqlx::PgPool;

use crate::{
    auth::{SignIn, demo::DemoLink, hashing::HashingError},
    origin::Origin,
};

/// What every request may use. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Console {
    /// The memory.
    pub pool: PgPool,
    /// The queues in Redis, and the time.
    pub engine: Engine,
    /// The budgets at Amazon.
    pub budgets: Budgets,
    /// Where browsers find the pages.
    pub origin: Arc<Origin>,
    /// How people sign in.
    pub sign_in: Arc<SignIn>,
    /// What signs somebody in without a factor; only in a demo.
    pub demo: Option<Arc<DemoLink>>,
}

impl Console {
    /// A console at this origin, without a demo. Without a key ring, people sign in by passkeys only.
    ///
    /// # Errors
    /// When the host has no random numbers.
    pub fn new(
        pool: PgPool,
        redis: Redis,
        clock: Arc<dyn Clock>,
        origin: Origin,
        keyring: Option<Keyring>,
    ) -> Result<Self, HashingError> {
        let sign_in = Arc::new(SignIn::new(&origin, keyring)?);
        let budgets = Budgets::new(redis.clone(), Arc::clone(&clock));
        let engine = Engine::new(redis, clock);
        Ok(Self { pool, engine, budgets, origin: Arc::new(origin), sign_in, demo: None })
    }

    /// The time, as all processes have it.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.engine.clock().now()
    }
}
