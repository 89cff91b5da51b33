//! Jobs that are no longer worth starting: one whose first run has not begun by `expires_at` is cancelled instead.
//!
//! A worker that wants to begin such a job is told that it has ended; the sweep finds those that nobody wants. Copies in
//! Redis are dropped by whoever claims them. A job that has begun once does not expire.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

/// Cancels up to `most` jobs that have expired. Returns how many; call again while that is `most`.
///
/// # Errors
/// When the database fails; then none is cancelled.
pub async fn sweep(pool: &PgPool, now: DateTime<Utc>, most: i64) -> Result<usize, sqlx::Error> {
    let ids = sqlx::query_scalar!(
        r#"
        select id from jobs
        where expires_at <= $1 and finished_at is null and started_at is null
        order by expires_at limit $2
        "#,
        now,
        most,
    )
    .fetch_all(pool)
    .await?;
    Ok(cancel(pool, &ids, now).await?.len())
}

/// Cancels those of the jobs that have expired and have not begun meanwhile. Returns which.
pub(crate) async fn cancel(
    pool: &PgPool,
    ids: &[Uuid],
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let cancelled = sqlx::query!(
        r#"
        with expired as (
            select id from jobs
            where id = any($1) and expires_at <= $2 and finished_at is null and started_at is null
            for update skip locked
        )
        update jobs set state = 'cancelled', finished_at = $2, touched_at = $2, waits_for = null,
            last_error = 'expired: no run had begun by ' || to_char(expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
        from expired where jobs.id = expired.id
        returning jobs.id, kind, queue
        "#,
        ids,
        now,
    )
    .fetch_all(pool)
    .await?;
    let mut ids = Vec::with_capacity(cancelled.len());
    for job in cancelled {
        metrics::counter!("jobs_expired_total", "kind" => job.kind, "queue" => job.queue).increment(1);
        ids.push(job.id);
    }
    Ok(ids)
}
