//! Who the workers are: each introduces itself when it begins and says when it ends.
//!
//! Redis alone knows which of them live. The rows give a name, a place and a release to an id that is random otherwise, and
//! nothing is decided by them: a worker that cannot introduce itself works all the same. Doing it twice writes the same row.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::{Queue, WorkerId};

/// The release of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) async fn introduce(
    pool: &PgPool,
    worker: WorkerId,
    queue: Queue,
    slots: usize,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into workers (id, queue, host, process_id, version, slots, started_at)
        values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing
        "#,
        worker.0,
        queue.name(),
        runtime::process::host_name(),
        i64::from(std::process::id()),
        VERSION,
        i32::try_from(slots).unwrap_or(i32::MAX),
        now,
    )
    .execute(pool)
    .await
    .map(|_| ())
}

pub(crate) async fn say_goodbye(
    pool: &PgPool,
    worker: WorkerId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!("update workers set ended_at = $2 where id = $1 and ended_at is null", worker.0, now)
        .execute(pool)
        .await
        .map(|_| ())
}

/// A worker, as it introduced itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// The worker.
    pub id: WorkerId,
    /// The host or container.
    pub host: String,
    /// The process there.
    pub process_id: i64,
    /// Its release.
    pub version: String,
    /// How many jobs it runs at once.
    pub slots: i32,
    /// When it began.
    pub started_at: DateTime<Utc>,
}

/// Those of `ids` that have introduced themselves.
///
/// # Errors
/// When the database fails.
pub async fn known(connection: &mut PgConnection, ids: &[WorkerId]) -> Result<Vec<Worker>, sqlx::Error> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    sqlx::query_as!(
        Worker,
        r#"
        select id as "id: WorkerId", host, process_id, version, slots, started_at
        from workers where id = any($1)
        "#,
        &ids,
    )
    .fetch_all(connection)
    .await
}
