//! Dead letters: finding them, one by one and by what they have in common. What is decided about them is in
//! [`crate::ops::bulk`].

use chrono::{DateTime, TimeDelta, Utc};
use queue::{JobId, Queue, bulk::Filter, dead::DeadLetter};
use serde::Serialize;
use sqlx::PgConnection;

/// Up to `most` dead letters, the last to die first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    most: u16,
) -> Result<Vec<DeadLetter>, sqlx::Error> {
    sqlx::query_as!(
        DeadLetter,
        r#"
        select job_id as "id: JobId", letters.kind, letters.queue, letters.group_name as "group", attempts, crashes, error,
            died_at as finished_at
        from (
            select * from dead_letters
            where ($1::text is null or kind = $1) and ($2::text is null or queue = $2)
                and ($3::text is null or group_name = $3) and ($4::text is null or error like $4)
                and ($5::text is null or pattern_key = $5)
                and ($6::timestamptz is null or died_at >= $6) and ($7::timestamptz is null or died_at < $7)
            order by died_at desc, job_id desc limit $8
        ) as letters join jobs on jobs.id = job_id
        order by died_at desc, job_id desc
        "#,
        filter.kind,
        filter.queue.map(Queue::name),
        filter.group,
        filter.error_like(),
        filter.pattern,
        filter.since,
        filter.until,
        i64::from(most),
    )
    .fetch_all(connection)
    .await
}

/// How many dead letters the filter lets through, and at most `most`.
///
/// # Errors
/// When the database fails.
pub async fn count(
    connection: &mut PgConnection,
    filter: &Filter,
    most: Option<u32>,
) -> Result<i64, sqlx::Error> {
    let count = sqlx::query_scalar!(
        r#"
        select count(*) as "count!" from dead_letters
        where ($1::text is null or kind = $1) and ($2::text is null or queue = $2)
            and ($3::text is null or group_name = $3) and ($4::text is null or error like $4)
            and ($5::text is null or pattern_key = $5)
            and ($6::timestamptz is null or died_at >= $6) and ($7::timestamptz is null or died_at < $7)
        "#,
        filter.kind,
        filter.queue.map(Queue::name),
        filter.group,
        filter.error_like(),
        filter.pattern,
        filter.since,
        filter.until,
    )
    .fetch_one(connection)
    .await?;
    Ok(most.map_or(count, |most| count.min(i64::from(most))))
}

/// The dead letters that the filter lets through, the first enqueued first; at most `most`.
pub(crate) async fn first_enqueued(
    connection: &mut PgConnection,
    filter: &Filter,
    most: i64,
) -> Result<Vec<JobId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select job_id as "id: JobId" from dead_letters
        where ($1::text is null or kind = $1) and ($2::text is null or queue = $2)
            and ($3::text is null or group_name = $3) and ($4::text is null or error like $4)
            and ($5::text is null or pattern_key = $5)
            and ($6::timestamptz is null or died_at >= $6) and ($7::timestamptz is null or died_at < $7)
        order by job_id limit $8
        "#,
        filter.kind,
        filter.queue.map(Queue::name),
        filter.group,
        filter.error_like(),
        filter.pattern,
        filter.since,
        filter.until,
        most,
    )
    .fetch_all(connection)
    .await
}

/// Those of these jobs that are dead letters.
///
/// # Errors
/// When the database fails.
pub async fn dead_of(connection: &mut PgConnection, ids: &[JobId]) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    sqlx::query_as!(
        DeadLetter,
        r#"
        select id as "id: JobId", kind, queue, group_name as "group", attempts, crashes,
            coalesce(last_error, 'no error was recorded') as "error!", finished_at as "finished_at!"
        from jobs where is_dead and id = any($1) order by id
        "#,
        &ids,
    )
    .fetch_all(connection)
    .await
}

/// Dead letters of one kind whose errors have one pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadGroup {
    /// Its short name, for filters.
    pub key: String,
    /// What sort of work.
    pub kind: String,
    /// What their errors have in common: without quoted parts, moments, ids and numbers.
    pub pattern: String,
    /// How many they are.
    pub letters: i64,
    /// How many of them died within the last hour.
    pub last_hour: i64,
    /// For how many groups they were; a group is usually a seller.
    pub groups: i64,
    /// When the first of them died.
    pub first_at: DateTime<Utc>,
    /// When the last of them died.
    pub last_at: DateTime<Utc>,
    /// That last one.
    pub example: JobId,
    /// Its error.
    pub error: String,
}

/// Dead letters by what they have in common, the largest group first; at most `most` groups.
///
/// # Errors
/// When the database fails.
pub async fn groups(
    connection: &mut PgConnection,
    most: i64,
    now: DateTime<Utc>,
) -> Result<Vec<DeadGroup>, sqlx::Error> {
    sqlx::query_as!(
        DeadGroup,
        r#"
        select pattern_key as key, kind, pattern, letters as "letters!", last_hour as "last_hour!", groups as "groups!",
            first_at as "first_at!", last_at as "last_at!", job_id as "example: JobId", error
        from (
            select pattern_key as key, count(*) as letters, min(died_at) as first_at, max(died_at) as last_at,
                count(*) filter (where died_at > $2) as last_hour
            from dead_letters group by pattern_key order by 2 desc, 1 limit $1
        ) as alike
        cross join lateral (
            select count(*) as groups
            from (select from dead_letters where pattern_key = alike.key group by group_name) as one_each
        ) as apart
        cross join lateral (
            select pattern_key, kind, pattern, job_id, error from dead_letters
            where pattern_key = alike.key and died_at = last_at limit 1
        ) as example
        order by letters desc, key
        "#,
        most,
        now - TimeDelta::hours(1),
    )
    .fetch_all(connection)
    .await
}
