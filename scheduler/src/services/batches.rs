//! Finishes sealed batches whose jobs have all ended, and enqueues what follows them.
//!
//! Looks for them each second instead of being told of each end: one look at an index for each open batch, however many jobs
//! it has, and nothing that could be told twice or be lost.

use std::time::Duration;

use queue::batch::{self, BatchError};

use crate::services::{Service, Services};

const TURN: Duration = Duration::from_secs(1);
/// Most batches of one pass; each is a transaction.
const MOST: i64 = 100;

pub(super) struct Batches {
    services: Services,
}

impl Batches {
    pub(super) const fn new(services: Services) -> Self {
        Self { services }
    }
}

impl Service for Batches {
    const NAME: &'static str = "batches";
    type Error = BatchError;

    async fn pass(&mut self) -> Result<Duration, BatchError> {
        let now = self.services.engine.clock().now();
        let finished = batch::finish_ended(&self.services.pool, now, MOST).await?;
        for id in &finished {
            metrics::counter!("batches_finished_total").increment(1);
            tracing::info!(batch.id = %id, "a batch has ended");
        }
        let full = usize::try_from(MOST).is_ok_and(|most| finished.len() == most);
        Ok(if full { Duration::ZERO } else { TURN })
    }
}
