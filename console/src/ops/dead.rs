//! Dead letters: finding them, and requeueing or discarding some of them in the name of a person.
//!
//! Doing it twice is safe: a letter that is no longer dead is refused by name. Each call handles at most 500 letters in one
//! transaction, so that a bulk change is a row of short ones; a caller that stops in between has changed whole slices.

use chrono::{DateTime, Utc};
use queue::{
    JobId,
    dead::{self, DeadError, DeadLetter},
};
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use crate::ops::Act;

/// Most letters of one call.
pub const MAX_SLICE: usize = 500;

/// Which dead letters. A filter that is `None` lets all through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this kind.
    pub kind: Option<String>,
    /// Whose last error contains this text, as it is written.
    pub error_contains: Option<String>,
}

/// What to do with dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Run them again, with all their attempts.
    Requeue,
    /// Give them up; they stay in the ledger as cancelled.
    Discard,
}

impl Change {
    /// As in the audit log.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Requeue => "dead.requeue",
            Self::Discard => "dead.discard",
        }
    }
}

/// A letter that was not changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The job.
    pub id: JobId,
    /// Why, and what to do.
    pub why: String,
}

/// What a change did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Those that it changed.
    pub changed: Vec<JobId>,
    /// Those that it could not.
    pub refused: Vec<Refused>,
}

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
        select id as "id: JobId", kind, queue, group_name as "group", attempts, crashes,
            coalesce(last_error, 'no error was recorded') as "error!", finished_at as "finished_at!"
        from jobs
        where state = 'dead' and ($1::text is null or kind = $1)
            and ($2::text is null or strpos(last_error, $2) > 0)
        order by finished_at desc, id desc limit $3
        "#,
        filter.kind,
        filter.error_contains,
        i64::from(most),
    )
    .fetch_all(connection)
    .await
}

/// How many dead letters the filter lets through.
///
/// # Errors
/// When the database fails.
pub async fn count(connection: &mut PgConnection, filter: &Filter) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select count(*) as "count!" from jobs
        where state = 'dead' and ($1::text is null or kind = $1)
            and ($2::text is null or strpos(last_error, $2) > 0)
        "#,
        filter.kind,
        filter.error_contains,
    )
    .fetch_one(connection)
    .await
}

/// The next slice of a bulk change: up to [`MAX_SLICE`] letters after `after`, in the order of their ids. A letter that dies
/// again meanwhile does not come up a second time.
///
/// # Errors
/// When the database fails.
pub async fn slice(
    connection: &mut PgConnection,
    filter: &Filter,
    after: Option<JobId>,
) -> Result<Vec<JobId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select id as "id: JobId" from jobs
        where state = 'dead' and ($1::text is null or kind = $1)
            and ($2::text is null or strpos(last_error, $2) > 0) and ($3::uuid is null or id > $3)
        order by id limit $4
        "#,
        filter.kind,
        filter.error_contains,
        after.map(|id| id.0),
        i64::try_from(MAX_SLICE).unwrap_or(i64::MAX),
    )
    .fetch_all(connection)
    .await
}

/// Changes dead letters, of which callers pass at most [`MAX_SLICE`], and records each act, in a transaction of its own or
/// a part of the caller's. A letter that is refused does not hold up the others.
///
/// # Errors
/// When the database fails; then none is changed.
pub async fn change(
    connection: &mut PgConnection,
    change: Change,
    ids: &[JobId],
    act: &Act,
    now: DateTime<Utc>,
) -> Result<Changed, sqlx::Error> {
    let mut outcome = Changed::default();
    let mut transaction = connection.begin().await?;
    for id in ids {
        // A savepoint each: a refusal by a constraint would otherwise end the whole transaction.
        let mut one = transaction.begin().await?;
        let done = match change {
            Change::Requeue => dead::requeue(&mut one, *id, now).await.map(|_| ()),
            Change::Discard => dead::discard(&mut one, *id, now).await,
        };
        match done {
            Ok(()) => {
                act.record(&mut one, change.action(), &id.to_string(), now).await?;
                one.commit().await?;
                outcome.changed.push(*id);
            }
            Err(DeadError::Database(error)) => return Err(error),
            Err(refusal @ (DeadError::NotDead { .. } | DeadError::Replaced { .. })) => {
                one.rollback().await?;
                outcome.refused.push(Refused { id: *id, why: refusal.to_string() });
            }
        }
    }
    transaction.commit().await?;
    Ok(outcome)
}
