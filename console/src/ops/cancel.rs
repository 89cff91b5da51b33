//! Cancelling a job in the name of a person. Doing it twice is safe: the second time says so, and records nothing.

use chrono::{DateTime, Utc};
use queue::{
    JobId,
    cancel::{self, CancelError, Cancelled},
};
use sqlx::{Connection, PgConnection};

use crate::ops::Act;

/// What was done about a job that somebody wants cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It waited, and is cancelled.
    AtOnce,
    /// It runs, and was asked to stop.
    Asked,
    /// It runs, and was asked to stop before.
    AskedBefore {
        /// When.
        at: DateTime<Utc>,
    },
}

/// Cancels a job that waits, or asks one that runs to stop, and records the act, in a transaction of its own or a part of
/// the caller's.
///
/// # Errors
/// When it has ended already, there is none, or the database fails.
pub async fn cancel(
    connection: &mut PgConnection,
    id: JobId,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<Answer, CancelError> {
    let mut transaction = connection.begin().await?;
    let asked_before =
        sqlx::query_scalar!("select cancel_requested_at from jobs where id = $1 for update", id.0)
            .fetch_optional(&mut *transaction)
            .await?
            .flatten();
    let answer = match (cancel::cancel(&mut transaction, id, now).await?, asked_before) {
        (Cancelled::AtOnce, _) => Answer::AtOnce,
        (Cancelled::Asked, None) => Answer::Asked,
        (Cancelled::Asked, Some(at)) => Answer::AskedBefore { at },
    };
    if !matches!(answer, Answer::AskedBefore { .. }) {
        act.record(&mut transaction, "jobs.cancel", &id.to_string(), now).await?;
    }
    transaction.commit().await?;
    Ok(answer)
}
