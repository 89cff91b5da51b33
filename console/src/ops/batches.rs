//! Batches that have not finished, and how far they are.
//!
//! A batch may be huge and pages ask again each few seconds, so its jobs are counted in the index and only so far.

use chrono::{DateTime, Utc};
use queue::BatchId;
use sqlx::PgConnection;

/// Jobs of a batch that are counted at most.
pub const MOST_COUNTED: i64 = 5_000;

/// A batch that has not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBatch {
    /// The batch.
    pub id: BatchId,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// Since when no job may join; `None`: they still may.
    pub sealed_at: Option<DateTime<Utc>>,
    /// Its jobs; above [`MOST_COUNTED`] there are more.
    pub total: i64,
    /// Of these, not yet ended; above [`MOST_COUNTED`] there are more.
    pub unfinished: i64,
}

impl OpenBatch {
    /// How many have ended, and of how many; `None` when there are too many to count.
    #[must_use]
    pub const fn ended(&self) -> Option<(i64, i64)> {
        if self.total > MOST_COUNTED { None } else { Some((self.total - self.unfinished, self.total)) }
    }
}

/// Up to `most` unfinished batches, the first opened first.
///
/// # Errors
/// When the database fails.
pub async fn unfinished(connection: &mut PgConnection, most: u16) -> Result<Vec<OpenBatch>, sqlx::Error> {
    sqlx::query_as!(
        OpenBatch,
        r#"
        select id as "id: BatchId", created_at, sealed_at,
            (select count(*) from (select from jobs where batch_id = batches.id limit $2::bigint + 1) as counted) as "total!",
            (select count(*) from (
                select from jobs where batch_id = batches.id and jobs.finished_at is null limit $2::bigint + 1
            ) as counted) as "unfinished!"
        from batches where batches.finished_at is null order by created_at, id limit $1
        "#,
        i64::from(most),
        MOST_COUNTED,
    )
    .fetch_all(connection)
    .await
}

/// A batch in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchLine {
    /// The batch.
    pub id: BatchId,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// Since when no job may join.
    pub sealed_at: Option<DateTime<Utc>>,
    /// When all of its jobs had ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Up to `most` batches that were opened before this one, the last opened first; and whether there are more.
///
/// # Errors
/// When the database fails.
pub async fn page(
    connection: &mut PgConnection,
    before: Option<BatchId>,
    most: u16,
) -> Result<(Vec<BatchLine>, bool), sqlx::Error> {
    let mut lines = sqlx::query_as!(
        BatchLine,
        r#"
        select id as "id: BatchId", created_at, sealed_at, finished_at from batches
        where $1::uuid is null or id < $1 order by id desc limit $2
        "#,
        before.map(|id| id.0),
        i64::from(most) + 1,
    )
    .fetch_all(connection)
    .await?;
    let more = lines.len() > usize::from(most);
    lines.truncate(usize::from(most));
    Ok((lines, more))
}

/// Since when a batch takes no more jobs, where it is sealed; `None` for an unknown one.
///
/// # Errors
/// When the database fails.
pub async fn sealed_at(
    connection: &mut PgConnection,
    id: BatchId,
) -> Result<Option<Option<DateTime<Utc>>>, sqlx::Error> {
    sqlx::query_scalar!("select sealed_at from batches where id = $1", id.0).fetch_optional(connection).await
}
