//! Letting a delayed job run now in the name of a person. Doing it twice is safe: a job that is no longer delayed is refused.

use chrono::{DateTime, Utc};
use queue::{
    JobId,
    hurry::{self, HurryError},
};
use sqlx::{Connection, PgConnection};

use crate::ops::Act;

/// Lets a delayed job run now, and records the act, in a transaction of its own or a part of the caller's.
///
/// # Errors
/// When it is not delayed, there is none, or the database fails.
pub async fn run_now(
    connection: &mut PgConnection,
    id: JobId,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<(), HurryError> {
    let mut transaction = connection.begin().await?;
    hurry::one(&mut transaction, id, now).await?;
    act.record(&mut transaction, "jobs.run_now", &id.to_string(), now).await?;
    transaction.commit().await?;
    Ok(())
}
