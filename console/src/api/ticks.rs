//! The stored ticks of scheduled kinds.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// The stored ticks of a scheduled kind.
#[derive(Debug, Clone)]
pub(super) struct Tick {
    pub(super) kind: String,
    pub(super) next_fire_at: DateTime<Utc>,
    pub(super) last_fire_at: Option<DateTime<Utc>>,
    pub(super) paused_at: Option<DateTime<Utc>>,
}

/// Those of all kinds.
///
/// # Errors
/// When the database fails.
pub(super) async fn load(connection: &mut PgConnection) -> Result<Vec<Tick>, sqlx::Error> {
    sqlx::query_as!(Tick, "select kind, next_fire_at, last_fire_at, paused_at from schedules")
        .fetch_all(connection)
        .await
}
