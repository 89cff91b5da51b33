//! One slice of a bulk operation: what the leading scheduler does again and again. See [`super`] for what holds.

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgPool};

use super::{BulkError, BulkId, Change, MAX_REFUSALS, MAX_SLICE, Operation, Refused, Row, Stage};
use crate::{
    JobId, Queue,
    act::Act,
    cancel::{self, CancelError},
    dead::{self, DeadError},
    failure,
};

/// What a slice did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Of which operation.
    pub id: BulkId,
    /// What was done to each job.
    pub change: Change,
    /// How many jobs it changed.
    pub changed: usize,
    /// How many it could not change.
    pub refused: usize,
    /// Where the operation is after it.
    pub stage: Stage,
}

/// Carries the operation on that has waited the longest, by a slice of up to [`MAX_SLICE`] jobs in a transaction of its own;
/// `None` when no operation has anything left to do. Another one that does the same at the moment takes another operation.
///
/// # Errors
/// When the database fails, or this release cannot read the operation; then the slice is undone, and the operation says why.
pub async fn slice(pool: &PgPool, now: DateTime<Utc>) -> Result<Option<Slice>, BulkError> {
    let mut transaction = pool.begin().await?;
    let row = sqlx::query_as!(
        Row,
        r#"
        select id as "id: BulkId", change, filter, actor, reason, via, state, matched, changed, refused, refusals,
            after_id as "after_id: JobId", created_at, began_at, last_slice_at, finished_at, error
        from bulk_operations where finished_at is null
        order by last_slice_at nulls first, id limit 1 for update skip locked
        "#
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (id, after) = (row.id, row.after_id);
    let done = match row.read() {
        Ok(operation) => carry_on(&mut transaction, operation, after, now).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(slice) => {
            transaction.commit().await?;
            Ok(Some(slice))
        }
        Err(error) => {
            transaction.rollback().await?;
            // It goes to the end of the row, so that one that cannot be carried on holds up no other.
            let why = failure::chain(&error);
            sqlx::query!(
                "update bulk_operations set error = $2, last_slice_at = $3 where id = $1 and finished_at is null",
                id.0,
                why,
                now
            )
            .execute(pool)
            .await?;
            Err(error)
        }
    }
}

async fn carry_on(
    connection: &mut PgConnection,
    operation: Operation,
    after: Option<JobId>,
    now: DateTime<Utc>,
) -> Result<Slice, BulkError> {
    let Operation { id, change, .. } = operation;
    let mut slice = Slice { id, change, changed: 0, refused: 0, stage: Stage::Stopped };
    if operation.stage == Stage::Stopping {
        note(connection, &operation, &slice, &[], after, now).await?;
        return Ok(slice);
    }
    let most = operation.left().min(i64::try_from(MAX_SLICE).unwrap_or(i64::MAX));
    let jobs = match (most, change.of_dead()) {
        (0, _) => Vec::new(),
        (_, true) => dead_letters(connection, &operation, after, most).await?,
        (_, false) => unfinished(connection, &operation, most).await?,
    };
    // The name of the operation stands with each of its jobs; the reason itself was accepted when it was started.
    let act =
        Act::stored(&operation.actor, &format!("{} (bulk operation {id})", operation.reason), operation.via);
    let mut refusals = Vec::new();
    for job in &jobs {
        match one(connection, change, *job, now).await? {
            None => {
                act.record(connection, change.action(), &job.to_string(), now).await?;
                slice.changed += 1;
            }
            Some(why) => {
                slice.refused += 1;
                refusals.push(Refused { id: *job, why });
            }
        }
    }
    let at_work =
        jobs.is_empty() && !change.of_dead() && most > 0 && still_there(connection, &operation).await?;
    slice.stage = if jobs.is_empty() && !at_work { Stage::Finished } else { Stage::Running };
    note(connection, &operation, &slice, &refusals, jobs.last().copied().or(after), now).await?;
    Ok(slice)
}

/// Changes one job, in a part of the caller's transaction; says why not, where it is refused.
///
/// # Errors
/// When the database fails.
pub async fn one(
    connection: &mut PgConnection,
    change: Change,
    id: JobId,
    now: DateTime<Utc>,
) -> Result<Option<String>, sqlx::Error> {
    // A savepoint each: a refusal by a constraint would otherwise end the whole transaction.
    let mut savepoint = connection.begin().await?;
    let refusal = match change {
        Change::Requeue => dead_refusal(dead::requeue(&mut savepoint, id, now).await.map(drop))?,
        Change::Discard => dead_refusal(dead::discard(&mut savepoint, id, now).await)?,
        Change::Cancel => match cancel::cancel(&mut savepoint, id, now).await {
            Ok(_) => None,
            Err(CancelError::Database(error)) => return Err(error),
            Err(refusal @ (CancelError::Ended { .. } | CancelError::Unknown(_))) => Some(refusal.to_string()),
        },
    };
    match refusal {
        None => savepoint.commit().await?,
        Some(_) => savepoint.rollback().await?,
    }
    Ok(refusal)
}

fn dead_refusal(done: Result<(), DeadError>) -> Result<Option<String>, sqlx::Error> {
    match done {
        Ok(()) => Ok(None),
        Err(DeadError::Database(error)) => Err(error),
        Err(refusal @ (DeadError::NotDead { .. } | DeadError::Replaced { .. })) => {
            Ok(Some(refusal.to_string()))
        }
    }
}

async fn dead_letters(
    connection: &mut PgConnection,
    operation: &Operation,
    after: Option<JobId>,
    most: i64,
) -> Result<Vec<JobId>, sqlx::Error> {
    let filter = &operation.filter;
    sqlx::query_scalar!(
        r#"
        select job_id as "id: JobId" from dead_letters
        where ($1::text is null or kind = $1) and ($2::text is null or queue = $2)
            and ($3::text is null or group_name = $3) and ($4::text is null or error like $4)
            and ($5::text is null or pattern_key = $5)
            and ($6::timestamptz is null or died_at >= $6) and ($7::timestamptz is null or died_at < $7)
            and died_at <= $8 and ($9::uuid is null or job_id > $9)
        order by job_id limit $10
        "#,
        filter.kind,
        filter.queue.map(Queue::name),
        filter.group,
        filter.error_like(),
        filter.pattern,
        filter.since,
        filter.until,
        operation.created_at,
        after.map(|id| id.0),
        most,
    )
    .fetch_all(connection)
    .await
}

/// Jobs that are asked to stop are left out, so that each comes once; what a worker changes at the moment is left for the next
/// slice: who holds many rows must not wait for another one.
async fn unfinished(
    connection: &mut PgConnection,
    operation: &Operation,
    most: i64,
) -> Result<Vec<JobId>, sqlx::Error> {
    let filter = &operation.filter;
    sqlx::query_scalar!(
        r#"
        select id as "id: JobId" from jobs
        where finished_at is null and cancel_requested_at is null
            and ($1::text is null or kind = $1) and ($2::text is null or queue = $2)
            and ($3::text is null or group_name = $3) and ($4::text is null or last_error like $4)
            and ($5::timestamptz is null or created_at >= $5) and ($6::timestamptz is null or created_at < $6)
            and created_at <= $7
        order by id limit $8 for no key update skip locked
        "#,
        filter.kind,
        filter.queue.map(Queue::name),
        filter.group,
        filter.error_like(),
        filter.since,
        filter.until,
        operation.created_at,
        most,
    )
    .fetch_all(connection)
    .await
}

/// Whether a job that is to be cancelled was only held by somebody else.
async fn still_there(connection: &mut PgConnection, operation: &Operation) -> Result<bool, sqlx::Error> {
    let filter = &operation.filter;
    sqlx::query_scalar!(
        r#"
        select exists (
            select from jobs
            where finished_at is null and cancel_requested_at is null
                and ($1::text is null or kind = $1) and ($2::text is null or queue = $2)
                and ($3::text is null or group_name = $3) and ($4::text is null or last_error like $4)
                and ($5::timestamptz is null or created_at >= $5) and ($6::timestamptz is null or created_at < $6)
                and created_at <= $7
        ) as "there!"
        "#,
        filter.kind,
        filter.queue.map(Queue::name),
        filter.group,
        filter.error_like(),
        filter.since,
        filter.until,
        operation.created_at,
    )
    .fetch_one(connection)
    .await
}

/// Writes what a slice did, in its transaction.
async fn note(
    connection: &mut PgConnection,
    operation: &Operation,
    slice: &Slice,
    refusals: &[Refused],
    after: Option<JobId>,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let mut kept = operation.refusals.clone();
    kept.extend(refusals.iter().take(MAX_REFUSALS.saturating_sub(kept.len())).cloned());
    sqlx::query!(
        r#"
        update bulk_operations set
            -- Whoever asked for a stop while this slice ran waits for this row, and finds it as it is then.
            state = $2, changed = changed + $3, refused = refused + $4, refusals = $5, after_id = $6,
            began_at = coalesce(began_at, $7::timestamptz), last_slice_at = $7,
            finished_at = case when $2 in ('stopped', 'finished') then $7::timestamptz end, error = null
        where id = $1
        "#,
        operation.id.0,
        slice.stage.name(),
        i64::try_from(slice.changed).unwrap_or(i64::MAX),
        i64::try_from(slice.refused).unwrap_or(i64::MAX),
        serde_json::to_value(&kept).unwrap_or_default(),
        after.map(|id| id.0),
        now,
    )
    .execute(connection)
    .await
    .map(|_| ())
}
