//! Carries bulk operations on, a slice at a time: what people do to many jobs at once (`queue::bulk`).
//!
//! Rests as long as a slice took, so that it never takes more than half of what the database can do. A leader that is lost in the
//! middle of a slice has changed none of it; the next leader goes on from the slice before.

use std::time::Duration;

use queue::bulk::{self, BulkError, Stage};
use tokio::time::Instant;

use crate::services::{Service, Services};

/// Between two looks when there is nothing to do.
const TURN: Duration = Duration::from_secs(1);
const SHORTEST_REST: Duration = Duration::from_millis(20);

pub(super) struct Bulk {
    services: Services,
}

impl Bulk {
    pub(super) const fn new(services: Services) -> Self {
        Self { services }
    }
}

impl Service for Bulk {
    const NAME: &'static str = "bulk";
    type Error = BulkError;

    async fn pass(&mut self) -> Result<Duration, BulkError> {
        let started = Instant::now();
        let now = self.services.engine.clock().now();
        let Some(slice) = bulk::slice(&self.services.pool, now).await? else { return Ok(TURN) };
        if slice.stage.ended() {
            let stopped = slice.stage == Stage::Stopped;
            tracing::info!(bulk.id = %slice.id, bulk.stopped = stopped, "a bulk operation has ended");
        }
        // Nothing but jobs that somebody else holds at the moment: they are looked for again in a while.
        let idle = slice.changed + slice.refused == 0 && !slice.stage.ended();
        Ok(if idle { TURN } else { started.elapsed().max(SHORTEST_REST) })
    }
}
