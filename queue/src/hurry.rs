//! Letting jobs that wait for something run now, because it has happened.
//!
//! Repeating is safe: a job that runs already, or has ended, is left alone, and one that still has to wait says so again. Its
//! older copy in Redis, for the moment it waited for, is one that the ledger refuses.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use thiserror::Error;

use crate::{JobId, ledger::NEXT_ATTEMPT};

/// Lets the jobs of a kind and group that snooze run now. Those that wait for their next attempt, or for a first start that
/// somebody asked for, are left alone. Returns which they were.
///
/// # Errors
/// When the database fails.
pub async fn snoozing(
    connection: &mut PgConnection,
    kind: &str,
    group: &str,
    now: DateTime<Utc>,
) -> Result<Vec<JobId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        with snoozing as (
            select id from jobs
            where finished_at is null and kind = $1 and group_name = $2
                and case state when 'delayed' then waits_for is not null and waits_for <> $4 and due_at > $3 else false end
            order by id for no key update
        ), hurried as (
            update jobs set state = 'ready', due_at = $3, touched_at = $3, waits_for = null
            from snoozing where jobs.id = snoozing.id and jobs.state = 'delayed' returning jobs.id
        ), told as (
            insert into outbox (job_id) select id from hurried on conflict do nothing
        )
        select id as "id: JobId" from hurried
        "#,
        kind,
        group,
        now,
        NEXT_ATTEMPT,
    )
    .fetch_all(connection)
    .await
}

/// Why a job does not run earlier.
#[derive(Debug, Error)]
pub enum HurryError {
    /// It waits for no moment.
    #[error("job {id} is {state}: only a delayed job waits for a moment that can be brought forward")]
    NotDelayed {
        /// The job.
        id: JobId,
        /// What it is.
        state: String,
    },
    /// The ledger does not know it.
    #[error("there is no job {0}; `amzigo jobs` shows the last ones")]
    Unknown(JobId),
    /// The database failed.
    #[error("could not bring the job forward")]
    Database(#[from] sqlx::Error),
}

/// Lets one delayed job run now, whatever it waits for. One that waits for a budget keeps its place there: its run asks, and
/// waits for the moment that was set aside.
///
/// # Errors
/// When it is not delayed, there is none, or the database fails.
pub async fn one(connection: &mut PgConnection, id: JobId, now: DateTime<Utc>) -> Result<(), HurryError> {
    let hurried = sqlx::query_scalar!(
        r#"
        with hurried as (
            update jobs set state = 'ready', due_at = $2, touched_at = $2, waits_for = null
            where id = $1 and state = 'delayed' returning id
        ), told as (
            insert into outbox (job_id) select id from hurried on conflict do nothing
        )
        select id as "id!" from hurried
        "#,
        id.0,
        now,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if hurried.is_some() {
        return Ok(());
    }
    let state =
        sqlx::query_scalar!("select state from jobs where id = $1", id.0).fetch_optional(connection).await?;
    Err(state.map_or(HurryError::Unknown(id), |state| HurryError::NotDelayed { id, state }))
}
