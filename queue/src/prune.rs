//! Deletes what ended long ago, in bounded batches: jobs that are done or cancelled, with their failures, and finished
//! batches without jobs. Dead letters stay until a person decides, or the group that they were for has left.
//!
//! What still matters stays: a job whose unique period is not over, and the jobs of a sealed batch that has not finished. An
//! idempotency key is good for as long as its job is kept. Deleting again what is gone is nothing, and two at once skip each
//! other's rows.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

/// Most rows of one call, which is one transaction.
pub const MAX_PRUNED: usize = 1_000;

/// Deletes up to [`MAX_PRUNED`] jobs that were done or cancelled before `ended_before`. Returns how many; call again while
/// that is [`MAX_PRUNED`].
///
/// # Errors
/// When the database fails; then none is deleted.
pub async fn prune_jobs(
    pool: &PgPool,
    ended_before: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<usize, sqlx::Error> {
    let pruned = sqlx::query!(
        r#"
        delete from jobs where id in (
            select id from jobs
            where finished_at < $1 and not is_dead and (period is null or upper(period) <= $2)
                and not exists (
                    select from batches
                    where batches.id = jobs.batch_id and sealed_at is not null and batches.finished_at is null
                )
            order by finished_at limit $3 for update skip locked
        )
        "#,
        ended_before,
        now,
        most(),
    )
    .execute(pool)
    .await?;
    Ok(usize::try_from(pruned.rows_affected()).unwrap_or(usize::MAX))
}

/// Deletes up to [`MAX_PRUNED`] jobs of a group that have ended, whenever and however, but none of the kinds in `except`: the
/// group has left, and what its payloads name must go, dead letters included. Returns how many; call again while that is
/// [`MAX_PRUNED`].
///
/// # Errors
/// When the database fails; then none is deleted.
pub async fn prune_group(
    connection: &mut PgConnection,
    group: &str,
    except: &[&str],
) -> Result<usize, sqlx::Error> {
    let except: Vec<_> = except.iter().map(|kind| (*kind).to_owned()).collect();
    let pruned = sqlx::query!(
        r#"
        delete from jobs where id in (
            select id from jobs
            where finished_at is not null and group_name = $1 and kind <> all($2)
                and not exists (
                    select from batches
                    where batches.id = jobs.batch_id and sealed_at is not null and batches.finished_at is null
                )
            limit $3 for update skip locked
        )
        "#,
        group,
        &except,
        most(),
    )
    .execute(connection)
    .await?;
    Ok(usize::try_from(pruned.rows_affected()).unwrap_or(usize::MAX))
}

/// Deletes up to [`MAX_PRUNED`] batches that were finished before `ended_before`, or opened before and never sealed, and of
/// which no job is kept. Returns how many.
///
/// # Errors
/// When the database fails; then none is deleted.
pub async fn prune_batches(pool: &PgPool, ended_before: DateTime<Utc>) -> Result<usize, sqlx::Error> {
    let pruned = sqlx::query!(
        r#"
        delete from batches where id in (
            select id from batches
            where created_at < $1 and (finished_at < $1 or sealed_at is null)
                and not exists (select from jobs where batch_id = batches.id)
            order by created_at limit $2 for update skip locked
        )
        "#,
        ended_before,
        most(),
    )
    .execute(pool)
    .await?;
    Ok(usize::try_from(pruned.rows_affected()).unwrap_or(usize::MAX))
}

fn most() -> i64 {
    i64::try_from(MAX_PRUNED).unwrap_or(i64::MAX)
}
