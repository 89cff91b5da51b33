//! Dead letters: finding them, and requeueing or discarding some of them in the name of a person.
//!
//! Doing it twice is safe: a letter that is no longer dead is refused by name. Each call handles at most 500 letters in one
//! transaction, so that a bulk change is a row of short ones; a caller that stops in between has changed whole slices.

use chrono::{DateTime, Utc};
use queue::{
    JobId, Queue,
    dead::{self, DeadError, DeadLetter},
};
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use crate::ops::Act;

/// Most letters of one call.
pub const MAX_SLICE: usize = 500;

/// Which dead letters. A filter that is `None` lets all through.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Filter {
    /// Of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// On this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// For this group, which is usually a seller's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whose last error contains this text, as it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_contains: Option<String>,
    /// That died at this moment or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub died_after: Option<DateTime<Utc>>,
    /// That died before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub died_before: Option<DateTime<Utc>>,
    /// At most so many of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
}

impl Filter {
    /// In one line, for the audit log.
    #[must_use]
    pub fn describe(&self) -> String {
        match serde_json::to_string(self) {
            Ok(text) if text != "{}" => text,
            _ => "all dead letters".to_owned(),
        }
    }
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
        where is_dead and ($1::text is null or kind = $1) and ($2::text is null or queue = $2)
            and ($3::text is null or group_name = $3) and ($4::text is null or strpos(last_error, $4) > 0)
            and ($5::timestamptz is null or finished_at >= $5) and ($6::timestamptz is null or finished_at < $6)
        order by finished_at desc, id desc limit $7
        "#,
        filter.kind,
        filter.queue.map(Queue::name),
        filter.group,
        filter.error_contains,
        filter.died_after,
        filter.died_before,
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
    let count = sqlx::query_scalar!(
        r#"
        select count(*) as "count!" from jobs
        where is_dead and ($1::text is null or kind = $1) and ($2::text is null or queue = $2)
            and ($3::text is null or group_name = $3) and ($4::text is null or strpos(last_error, $4) > 0)
            and ($5::timestamptz is null or finished_at >= $5) and ($6::timestamptz is null or finished_at < $6)
        "#,
        filter.kind,
        filter.queue.map(Queue::name),
        filter.group,
        filter.error_contains,
        filter.died_after,
        filter.died_before,
    )
    .fetch_one(connection)
    .await?;
    Ok(filter.most.map_or(count, |most| count.min(i64::from(most))))
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

/// Changes dead letters, of which callers pass at most [`MAX_SLICE`], and records an act for each, in a transaction of its
/// own or a part of the caller's. A letter that is refused does not hold up the others.
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
    let mut transaction = connection.begin().await?;
    let outcome = change_each(&mut transaction, change, ids, now).await?;
    for id in &outcome.changed {
        act.record(&mut transaction, change.action(), &id.to_string(), now).await?;
    }
    transaction.commit().await?;
    Ok(outcome)
}

/// One act on all dead letters that a filter lets through, in slices.
#[derive(Debug)]
pub struct Bulk {
    change: Change,
    filter: Filter,
    act: Act,
    after: Option<JobId>,
    looked_at: usize,
}

impl Bulk {
    /// The act, not yet begun.
    #[must_use]
    pub const fn new(change: Change, filter: Filter, act: Act) -> Self {
        Self { change, filter, act, after: None, looked_at: 0 }
    }

    /// Changes the next slice, of up to [`MAX_SLICE`] letters in the order of their ids, in a transaction of its own; `None`
    /// when none is left. The first one records the act, with the filter. A letter that dies again meanwhile does not come
    /// up a second time.
    ///
    /// # Errors
    /// When the database fails; slices before this one stay changed.
    pub async fn next(
        &mut self,
        connection: &mut PgConnection,
        now: DateTime<Utc>,
    ) -> Result<Option<Changed>, sqlx::Error> {
        let mut transaction = connection.begin().await?;
        let slice = self.slice(&mut transaction).await?;
        let Some(last) = slice.last().copied() else { return Ok(None) };
        if self.after.is_none() {
            let target = self.filter.describe();
            self.act.record(&mut transaction, self.change.action(), &target, now).await?;
        }
        let outcome = change_each(&mut transaction, self.change, &slice, now).await?;
        transaction.commit().await?;
        self.after = Some(last);
        self.looked_at += slice.len();
        Ok(Some(outcome))
    }

    async fn slice(&self, connection: &mut PgConnection) -> Result<Vec<JobId>, sqlx::Error> {
        let left = self.filter.most.map_or(MAX_SLICE, |most| {
            usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(self.looked_at).min(MAX_SLICE)
        });
        sqlx::query_scalar!(
            r#"
            select id as "id: JobId" from jobs
            where is_dead and ($1::text is null or kind = $1) and ($2::text is null or queue = $2)
                and ($3::text is null or group_name = $3) and ($4::text is null or strpos(last_error, $4) > 0)
                and ($5::timestamptz is null or finished_at >= $5) and ($6::timestamptz is null or finished_at < $6)
                and ($7::uuid is null or id > $7)
            order by id limit $8
            "#,
            self.filter.kind,
            self.filter.queue.map(Queue::name),
            self.filter.group,
            self.filter.error_contains,
            self.filter.died_after,
            self.filter.died_before,
            self.after.map(|id| id.0),
            i64::try_from(left).unwrap_or(i64::MAX),
        )
        .fetch_all(connection)
        .await
    }
}

async fn change_each(
    connection: &mut PgConnection,
    change: Change,
    ids: &[JobId],
    now: DateTime<Utc>,
) -> Result<Changed, sqlx::Error> {
    let mut outcome = Changed::default();
    for id in ids {
        // A savepoint each: a refusal by a constraint would otherwise end the whole transaction.
        let mut one = connection.begin().await?;
        let done = match change {
            Change::Requeue => dead::requeue(&mut one, *id, now).await.map(|_| ()),
            Change::Discard => dead::discard(&mut one, *id, now).await,
        };
        match done {
            Ok(()) => {
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
    Ok(outcome)
}
