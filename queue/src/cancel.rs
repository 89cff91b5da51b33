//! Cancelling a job: at once while it waits, by asking while it runs.
//!
//! The worker hears of it within about a second and tells the run
//! ([`Signals::asked_to_stop`](crate::Signals::asked_to_stop)). A run that does not stop by itself within [`GRACE`] is
//! dropped. Whatever it ends with but a success, the job is cancelled; if its worker is lost meanwhile, too. Asking twice is
//! harmless.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use thiserror::Error;

use crate::{JobId, State};

/// Most jobs that one call of [`cancel_group`] cancels.
pub const MOST_OF_A_GROUP: i64 = 1_000;

/// How long a run that was asked to stop may go on.
pub const GRACE: Duration = Duration::from_secs(10);

/// What cancelling did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It waited, and is cancelled.
    AtOnce,
    /// It runs, and has been asked to stop.
    Asked,
}

/// Why a job could not be cancelled.
#[derive(Debug, Error)]
pub enum CancelError {
    /// It has ended already.
    #[error("job {id} is {state}: only a job that waits or runs can be cancelled")]
    Ended {
        /// The job.
        id: JobId,
        /// What it is.
        state: String,
    },
    /// The ledger does not know it.
    #[error("there is no job {0}; `amzigo jobs` shows the last ones")]
    Unknown(JobId),
    /// The database failed.
    #[error("could not cancel the job")]
    Database(#[from] sqlx::Error),
}

/// Cancels a job that waits, or asks one that runs to stop.
///
/// # Errors
/// When it has ended already, there is none, or the database fails.
pub async fn cancel(
    connection: &mut PgConnection,
    id: JobId,
    now: DateTime<Utc>,
) -> Result<Cancelled, CancelError> {
    let state = sqlx::query_scalar!(
        r#"
        update jobs set
            state = case state when 'running' then state else 'cancelled' end,
            finished_at = case state when 'running' then null else $2::timestamptz end,
            touched_at = $2, cancel_requested_at = coalesce(cancel_requested_at, $2::timestamptz),
            waits_for = case state when 'running' then waits_for end
        where id = $1 and state in ('ready', 'delayed', 'running')
        returning state
        "#,
        id.0,
        now,
    )
    .fetch_optional(&mut *connection)
    .await?;
    match state {
        Some(state) if state == State::Running.name() => Ok(Cancelled::Asked),
        Some(_) => Ok(Cancelled::AtOnce),
        None => {
            let state = sqlx::query_scalar!("select state from jobs where id = $1", id.0)
                .fetch_optional(connection)
                .await?;
            Err(state.map_or(CancelError::Unknown(id), |state| CancelError::Ended { id, state }))
        }
    }
}

/// Cancels a group's unfinished jobs of all queues, or asks those that run to stop; all but those of the kinds in `except`,
/// and at most [`MOST_OF_A_GROUP`] of them, the oldest first. Returns their ids: none when nothing is left to cancel. One
/// that was asked before is not asked again.
///
/// # Errors
/// When the database fails.
pub async fn cancel_group(
    connection: &mut PgConnection,
    group: &str,
    except: &[&str],
    now: DateTime<Utc>,
) -> Result<Vec<JobId>, sqlx::Error> {
    let except: Vec<_> = except.iter().map(|kind| (*kind).to_owned()).collect();
    sqlx::query_scalar!(
        r#"
        update jobs set
            state = case state when 'running' then state else 'cancelled' end,
            finished_at = case state when 'running' then null else $3::timestamptz end,
            touched_at = $3, cancel_requested_at = coalesce(cancel_requested_at, $3::timestamptz),
            waits_for = case state when 'running' then waits_for end
        where id = any(array(
                select id from jobs
                where finished_at is null and group_name = $1 and kind <> all($2)
                    and not (state = 'running' and cancel_requested_at is not null)
                order by id limit $4 for no key update
            ))
            -- One that a worker had begun or settled meanwhile is looked at as it is now.
            and finished_at is null
        returning id as "id: JobId"
        "#,
        group,
        &except,
        now,
        MOST_OF_A_GROUP,
    )
    .fetch_all(connection)
    .await
}
