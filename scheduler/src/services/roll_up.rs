//! Counts what has ended, for the charts; what is counted how is told in `queue::roll_up`. Also forgets what was noted about
//! workers long ago.
//!
//! Rests ten times as long as a pass took, so that it never takes more than a tenth of one connection, and catches up an hour
//! of the past at a time.

use std::time::Duration;

use queue::{recovery, roll_up};
use tokio::time::Instant;

use crate::services::{Service, Services};

/// Between two counts of what passes.
const TURN: Duration = Duration::from_secs(10);
/// Between two looks for what is too old.
const PRUNED_EVERY: Duration = Duration::from_secs(600);
const SHORTEST_REST: Duration = Duration::from_millis(20);

pub(super) struct RollUp {
    services: Services,
    /// Whether the minutes that are not counted for good yet have been counted since this term began.
    begun: bool,
    next_prune: Instant,
}

impl RollUp {
    pub(super) fn new(services: Services) -> Self {
        Self { services, begun: false, next_prune: Instant::now() }
    }
}

impl Service for RollUp {
    const NAME: &'static str = "roll_up";
    type Error = sqlx::Error;

    async fn pass(&mut self) -> Result<Duration, sqlx::Error> {
        let (pool, now) = (&self.services.pool, self.services.engine.clock().now());
        let started = Instant::now();
        let passed = roll_up::pass(pool, !self.begun, now).await?;
        if passed.more {
            return Ok((started.elapsed() * 10).max(SHORTEST_REST));
        }
        if !self.begun && !passed.moved {
            self.begun = true;
        }
        if Instant::now() >= self.next_prune {
            roll_up::prune(pool, passed.counted_until).await?;
            recovery::prune(pool, now).await?;
            self.next_prune = Instant::now() + PRUNED_EVERY;
        }
        let rest = if passed.moved { SHORTEST_REST } else { TURN };
        Ok((started.elapsed() * 10).max(rest))
    }
}
