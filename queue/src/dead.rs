//! Dead letters: jobs that ended in failure. They stay in the ledger, with every error they had, until a named person
//! requeues or discards them, with a reason.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use thiserror::Error;

use crate::{JobId, policy::Queue};

/// A dead letter.
#[derive(Debug, Clone, serde::Serialize)]
pub struct DeadLetter {
    /// The job.
    pub id: JobId,
    /// What sort of work.
    pub kind: String,
    /// Where it waited.
    pub queue: String,
    /// Whom it was for.
    pub group: String,
    /// Failed attempts.
    pub attempts: i32,
    /// Workers lost while they ran it.
    pub crashes: i32,
    /// The last error.
    pub error: String,
    /// When it died.
    pub finished_at: DateTime<Utc>,
}

/// A failed run of a job.
#[derive(Debug, Clone, serde::Serialize)]
pub struct FailedRun {
    /// When.
    pub at: DateTime<Utc>,
    /// retry, reject or crash.
    pub decision: String,
    /// What went wrong.
    pub error: String,
}

/// Why a dead letter could not be dealt with.
#[derive(Debug, Error)]
pub enum DeadError {
    /// It is not a dead letter.
    #[error("job {id} is {state}, not dead; `amzigo dead list` shows the dead letters")]
    NotDead {
        /// The job.
        id: JobId,
        /// What it is, or "unknown".
        state: String,
    },
    /// Another job does its work by now.
    #[error(
        "job {id} cannot run again beside an unfinished job of the same kind and payload; discard it, or wait for that one to end"
    )]
    Replaced {
        /// The job.
        id: JobId,
    },
    /// The database failed.
    #[error("could not change the dead letter")]
    Database(#[from] sqlx::Error),
}

/// The dead letters, the last first.
///
/// # Errors
/// When the database fails.
pub async fn list(connection: &mut PgConnection, most: i64) -> Result<Vec<DeadLetter>, sqlx::Error> {
    sqlx::query_as!(
        DeadLetter,
        r#"
        select id as "id: JobId", kind, queue, group_name as "group", attempts, crashes,
            coalesce(last_error, 'no error was recorded') as "error!", finished_at as "finished_at!"
        from jobs where is_dead order by finished_at desc, id desc limit $1
        "#,
        most
    )
    .fetch_all(connection)
    .await
}

/// Every failed run of a job, the first first.
///
/// # Errors
/// When the database fails.
pub async fn failures(connection: &mut PgConnection, id: JobId) -> Result<Vec<FailedRun>, sqlx::Error> {
    sqlx::query_as!(
        FailedRun,
        "select at, decision, error from failures where job_id = $1 order by at, fence",
        id.0
    )
    .fetch_all(connection)
    .await
}

/// Makes a dead letter run again, with all its attempts. Goes through the outbox like any other job.
///
/// # Errors
/// When it is not dead, another job replaced it, or the database fails.
pub async fn requeue(
    connection: &mut PgConnection,
    id: JobId,
    now: DateTime<Utc>,
) -> Result<Queue, DeadError> {
    let requeued = sqlx::query_scalar!(
        r#"
        with requeued as (
            update jobs set state = 'ready', attempts = 0, crashes = 0, due_at = $2, touched_at = $2, finished_at = null
            where id = $1 and state = 'dead'
            returning id, queue
        ), told as (
            insert into outbox (job_id) select id from requeued on conflict do nothing
        )
        select queue as "queue!" from requeued
        "#,
        id.0,
        now,
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(|error| match error.as_database_error().and_then(|database| database.constraint()) {
        Some("jobs_unique_key") => DeadError::Replaced { id },
        _ => error.into(),
    })?;
    match requeued.and_then(|queue| queue.parse().ok()) {
        Some(queue) => Ok(queue),
        None => Err(not_dead(connection, id).await?),
    }
}

/// Gives a dead letter up: it is cancelled, and stays in the ledger with its errors.
///
/// # Errors
/// When it is not dead, or the database fails.
pub async fn discard(connection: &mut PgConnection, id: JobId, now: DateTime<Utc>) -> Result<(), DeadError> {
    let discarded = sqlx::query!(
        "update jobs set state = 'cancelled', touched_at = $2, finished_at = $2 where id = $1 and state = 'dead'",
        id.0,
        now,
    )
    .execute(&mut *connection)
    .await?;
    if discarded.rows_affected() == 1 { Ok(()) } else { Err(not_dead(connection, id).await?) }
}

async fn not_dead(connection: &mut PgConnection, id: JobId) -> Result<DeadError, sqlx::Error> {
    let state =
        sqlx::query_scalar!("select state from jobs where id = $1", id.0).fetch_optional(connection).await?;
    Ok(DeadError::NotDead { id, state: state.unwrap_or_else(|| "unknown".to_owned()) })
}
