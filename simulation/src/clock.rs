//! Simulated time: tokio's own, which stands still while anything is to be done and then leaps to whatever comes next.

use chrono::{DateTime, TimeDelta, Utc};
use runtime::clock::Clock;
use tokio::time::Instant;

/// Time since a beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SimulatedClock {
    beginning: DateTime<Utc>,
    origin: Instant,
}

impl SimulatedClock {
    /// Time begins now.
    pub(crate) fn starting_at(beginning: DateTime<Utc>) -> Self {
        Self { beginning, origin: Instant::now() }
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> DateTime<Utc> {
        self.beginning + TimeDelta::from_std(self.origin.elapsed()).unwrap_or_default()
    }
}
