//! What workers tell the ledger beside what their runs became: who they are, and which of their runs were overtaken. Nothing is
//! decided by it; telling it twice changes nothing.

use chrono::{DateTime, Utc};

use super::{Ledger, Side};
use crate::{
    Queue, WorkerId,
    recovery::{self, Overtaken},
    workers,
};

impl Ledger {
    /// Notes which of these runs, whose results were refused, another run of their job has overtaken.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_overtaken(
        &self,
        worker: WorkerId,
        refused: &[Overtaken],
        now: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        match &self.side {
            Side::Postgres(pool) if !refused.is_empty() => {
                recovery::note_overtaken(pool, worker, refused, now).await.map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Writes who a worker is. Nothing is decided by it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn introduce(
        &self,
        worker: WorkerId,
        queue: Queue,
        slots: usize,
        now: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        match &self.side {
            Side::Postgres(pool) => workers::introduce(pool, worker, queue, slots, now).await,
            _ => Ok(()),
        }
    }

    /// Writes that a worker has ended by itself.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn say_goodbye(&self, worker: WorkerId, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
        match &self.side {
            Side::Postgres(pool) => workers::say_goodbye(pool, worker, now).await,
            _ => Ok(()),
        }
    }
}
