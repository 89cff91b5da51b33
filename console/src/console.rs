//! What the console's pages and API read from and change.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use queue::{Engine, limit::Budgets};
use sqlx::PgPool;

use crate::origin::Origin;

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
}

impl Console {
    /// The time, as all processes have it.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.engine.clock().now()
    }
}
