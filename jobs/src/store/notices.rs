//! Which notices were taken, so that one that comes twice is taken once, and what Amazon calls our queue for them.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::sp_api::Region;

/// The longest that a queue keeps a message: a notice that is older does not come again. Source: "Amazon SQS API Reference",
/// MessageRetentionPeriod, read 2026-11-25.
pub const LONGEST_KEPT: TimeDelta = TimeDelta::days(14);
/// Most rows that one call of [`prune`] deletes.
const PRUNED_AT_ONCE: i64 = 10_000;

/// Notes notices by id and type. Returns the ids of those that are new.
///
/// # Errors
/// When the database fails.
pub async fn note(
    connection: &mut PgConnection,
    notices: &[(&str, &str)],
    now: DateTime<Utc>,
) -> Result<Vec<String>, sqlx::Error> {
    let (ids, types): (Vec<_>, Vec<_>) =
        notices.iter().map(|(id, notice_type)| ((*id).to_owned(), (*notice_type).to_owned())).unzip();
    sqlx::query_scalar!(
        r#"
        insert into notices (notice_id, notice_type, arrived_at)
        select notice_id, notice_type, $3 from unnest($1::text[], $2::text[]) as given (notice_id, notice_type)
        order by notice_id
        on conflict do nothing returning notice_id
        "#,
        &ids,
        &types,
        now,
    )
    .fetch_all(connection)
    .await
}

/// Forgets notices that can no longer come again, some at a time.
///
/// # Errors
/// When the database fails.
pub async fn prune(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let pruned = sqlx::query!(
        "delete from notices where notice_id = any(array(select notice_id from notices where arrived_at < $1 limit $2))",
        now - LONGEST_KEPT,
        PRUNED_AT_ONCE,
    )
    .execute(connection)
    .await?;
    Ok(pruned.rows_affected())
}

/// What Amazon calls our queue in a region, if it was told of this one.
///
/// # Errors
/// When the database fails.
pub async fn destination(
    connection: &mut PgConnection,
    region: Region,
    queue_arn: &str,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "select destination_id from notice_destinations where region = $1 and queue_arn = $2",
        region.name(),
        queue_arn,
    )
    .fetch_optional(connection)
    .await
}

/// Notes what Amazon calls our queue in a region.
///
/// # Errors
/// When the database fails.
pub async fn note_destination(
    connection: &mut PgConnection,
    region: Region,
    queue_arn: &str,
    destination_id: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into notice_destinations (region, queue_arn, destination_id, noted_at) values ($1, $2, $3, $4)
        on conflict (region) do update set queue_arn = excluded.queue_arn,
            destination_id = excluded.destination_id, noted_at = excluded.noted_at
        "#,
        region.name(),
        queue_arn,
        destination_id,
        now,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Forgets what Amazon called our queue in a region: it no longer knows that id.
///
/// # Errors
/// When the database fails.
pub async fn forget_destination(
    connection: &mut PgConnection,
    region: Region,
    destination_id: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from notice_destinations where region = $1 and destination_id = $2",
        region.name(),
        destination_id,
    )
    .execute(connection)
    .await
    .map(|_| ())
}
