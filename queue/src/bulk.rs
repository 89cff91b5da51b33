//! Bulk operations: what a person does to many jobs at once, as things of their own.
//!
//! Started as a row, carried out by the leading scheduler ([`slice()`]), so that neither a closed browser nor a lost process ends
//! one half-way: each slice and its counts are one transaction, and the next one begins where the last that was committed ended.
//! A job that is no longer what the filter let through is refused by name and holds nothing up. What died or was enqueued after
//! the start is left alone, so that an operation ends.
//!
//! Does not promise an order among operations: the one whose last slice is the longest ago goes next.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use thiserror::Error;

use crate::{
    JobId, Queue,
    act::{Act, Via},
};

mod slice;

pub use self::slice::{Slice, one, slice};

runtime::id_type!(
    /// A bulk operation's id.
    BulkId
);

/// Most jobs of one slice, which is one transaction.
pub const MAX_SLICE: usize = 500;
/// Refusals that an operation keeps with their reasons; the others are counted.
pub const MAX_REFUSALS: usize = 20;

/// What is done to each job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Run dead letters again, with all their attempts.
    Requeue,
    /// Give dead letters up; they stay in the ledger as cancelled.
    Discard,
    /// Cancel jobs that have not ended.
    Cancel,
}

impl Change {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Requeue, Self::Discard, Self::Cancel];

    /// As stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requeue => "requeue",
            Self::Discard => "discard",
            Self::Cancel => "cancel",
        }
    }

    /// As in the audit log, with each job.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Requeue => "dead.requeue",
            Self::Discard => "dead.discard",
            Self::Cancel => "jobs.cancel",
        }
    }

    /// Whether it is about dead letters; else about jobs that have not ended.
    #[must_use]
    pub const fn of_dead(self) -> bool {
        matches!(self, Self::Requeue | Self::Discard)
    }
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Started, and not begun by a scheduler.
    Planned,
    /// Slices of it are done.
    Running,
    /// Somebody wants it stopped; the slice that runs is the last.
    Stopping,
    /// Ended before all was done.
    Stopped,
    /// Nothing is left to do.
    Finished,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Planned, Self::Running, Self::Stopping, Self::Stopped, Self::Finished];

    /// As stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn ended(self) -> bool {
        matches!(self, Self::Stopped | Self::Finished)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|one| one.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` is not a change; the changes are {known}")
        })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|one| one.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` is not a stage; the stages are {known}")
        })
    }
}

/// Which jobs. A filter that is `None` lets all through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
    /// Dead letters whose kind and error have this pattern, by its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// That died, or where they have not ended were enqueued, at this moment or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// That died, or where they have not ended were enqueued, before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

impl Filter {
    /// In one line, for the audit log.
    #[must_use]
    pub fn describe(&self, change: Change) -> String {
        match serde_json::to_string(self) {
            Ok(text) if text != "{}" => text,
            _ if change.of_dead() => "all dead letters".to_owned(),
            _ => "all unfinished jobs".to_owned(),
        }
    }

    /// The error's text as a pattern of `like`.
    #[must_use]
    pub fn error_like(&self) -> Option<String> {
        self.error_contains.as_deref().map(like)
    }
}

/// What `like` takes for any text that contains this one.
#[must_use]
pub fn like(text: &str) -> String {
    let escaped = text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
    format!("%{escaped}%")
}

/// A job that was not changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The job.
    pub id: JobId,
    /// Why, and what to do.
    pub why: String,
}

/// An operation as it stands.
#[derive(Debug, Clone, Serialize)]
pub struct Operation {
    /// Its id.
    pub id: BulkId,
    /// What it does.
    pub change: Change,
    /// To which jobs.
    pub filter: Filter,
    /// Who started it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Through which door.
    #[serde(skip)]
    via: Via,
    /// How far it is.
    pub stage: Stage,
    /// How many jobs the filter let through when it was started.
    pub matched: i64,
    /// How many it has changed.
    pub changed: i64,
    /// How many it could not change.
    pub refused: i64,
    /// The first of those.
    pub refusals: Vec<Refused>,
    /// When it was started.
    pub created_at: DateTime<Utc>,
    /// When its first slice was done.
    pub began_at: Option<DateTime<Utc>>,
    /// When its last slice was done.
    pub last_slice_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Why the last slice failed, where it did; it is tried again.
    pub error: Option<String>,
}

impl Operation {
    /// How many of those that matched it has not come to.
    #[must_use]
    pub const fn left(&self) -> i64 {
        let left = self.matched - self.changed - self.refused;
        if left > 0 { left } else { 0 }
    }
}

/// Why an operation could not be read, started or carried on.
#[derive(Debug, Error)]
pub enum BulkError {
    /// There is none.
    #[error("there is no bulk operation {0}; `amzigo bulk list` shows them")]
    Unknown(BulkId),
    /// It has ended.
    #[error("bulk operation {id} is {stage}: there is nothing to stop")]
    Ended {
        /// Which.
        id: BulkId,
        /// How it ended.
        stage: Stage,
    },
    /// A row says what this release does not know.
    #[error("bulk operation {id} was written by another release: {what}")]
    Unreadable {
        /// Which.
        id: BulkId,
        /// What is not understood.
        what: String,
    },
    /// The database failed.
    #[error("could not read or change the bulk operation")]
    Database(#[from] sqlx::Error),
}

/// How many jobs a filter lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Matched {
    /// So many; at most [`MAX_COUNTED`].
    pub jobs: i64,
    /// Whether there are more, which were not counted.
    pub more: bool,
    /// For how many groups.
    pub groups: i64,
}

/// Jobs beyond these are not counted, and not part of one operation.
pub const MAX_COUNTED: i64 = 200_000;

/// Counts the jobs that a filter lets through, up to [`MAX_COUNTED`].
///
/// # Errors
/// When the database fails.
pub async fn count(
    connection: &mut PgConnection,
    change: Change,
    filter: &Filter,
) -> Result<Matched, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select count(*) as "jobs!", count(distinct group_name) as "groups!" from (
            select group_name from dead_letters
            where $1 and ($2::text is null or kind = $2) and ($3::text is null or queue = $3)
                and ($4::text is null or group_name = $4) and ($5::text is null or error like $5)
                and ($6::text is null or pattern_key = $6)
                and ($7::timestamptz is null or died_at >= $7) and ($8::timestamptz is null or died_at < $8)
            union all
            select group_name from jobs
            where not $1 and finished_at is null and cancel_requested_at is null
                and ($2::text is null or kind = $2) and ($3::text is null or queue = $3)
                and ($4::text is null or group_name = $4) and ($5::text is null or last_error like $5)
                and $6::text is null
                and ($7::timestamptz is null or created_at >= $7) and ($8::timestamptz is null or created_at < $8)
            limit $9
        ) as matched
        "#,
        change.of_dead(),
        filter.kind,
        filter.queue.map(Queue::name),
        filter.group,
        filter.error_like(),
        filter.pattern,
        filter.since,
        filter.until,
        MAX_COUNTED + 1,
    )
    .fetch_one(connection)
    .await?;
    Ok(Matched { jobs: row.jobs.min(MAX_COUNTED), more: row.jobs > MAX_COUNTED, groups: row.groups })
}

/// Starts an operation on at most `matched` jobs, in the caller's transaction; the act is recorded by the caller. It begins
/// when that commits and a scheduler leads.
///
/// # Errors
/// When the database fails.
pub async fn start(
    connection: &mut PgConnection,
    change: Change,
    filter: &Filter,
    matched: i64,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<BulkId, sqlx::Error> {
    let id = BulkId::new();
    sqlx::query!(
        r#"
        insert into bulk_operations (id, change, filter, actor, reason, via, matched, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        "#,
        id.0,
        change.name(),
        serde_json::to_value(filter).unwrap_or_default(),
        act.actor(),
        act.reason(),
        act.door().name(),
        matched,
        now,
    )
    .execute(connection)
    .await?;
    Ok(id)
}

/// Asks that an operation stops after the slice that runs. Returns whether that is new.
///
/// # Errors
/// When there is none, it has ended, or the database fails.
pub async fn stop(connection: &mut PgConnection, id: BulkId) -> Result<bool, BulkError> {
    let stage = sqlx::query_scalar!("select state from bulk_operations where id = $1 for update", id.0)
        .fetch_optional(&mut *connection)
        .await?
        .ok_or(BulkError::Unknown(id))?;
    match stage.parse().map_err(|what| BulkError::Unreadable { id, what })? {
        stage @ (Stage::Stopped | Stage::Finished) => Err(BulkError::Ended { id, stage }),
        Stage::Stopping => Ok(false),
        Stage::Planned | Stage::Running => {
            sqlx::query!("update bulk_operations set state = 'stopping' where id = $1", id.0)
                .execute(connection)
                .await?;
            Ok(true)
        }
    }
}

/// The operation with this id.
///
/// # Errors
/// When there is none, this release cannot read it, or the database fails.
pub async fn show(connection: &mut PgConnection, id: BulkId) -> Result<Operation, BulkError> {
    let row = sqlx::query_as!(
        Row,
        r#"
        select id as "id: BulkId", change, filter, actor, reason, via, state, matched, changed, refused, refusals,
            after_id as "after_id: JobId", created_at, began_at, last_slice_at, finished_at, error
        from bulk_operations where id = $1
        "#,
        id.0
    )
    .fetch_optional(connection)
    .await?;
    row.ok_or(BulkError::Unknown(id))?.read()
}

/// The last operations, the newest first; at most `most`, and those that have not ended before all others.
///
/// # Errors
/// When this release cannot read one, or the database fails.
pub async fn list(connection: &mut PgConnection, most: i64) -> Result<Vec<Operation>, BulkError> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select id as "id: BulkId", change, filter, actor, reason, via, state, matched, changed, refused, refusals,
            after_id as "after_id: JobId", created_at, began_at, last_slice_at, finished_at, error
        from bulk_operations order by finished_at is not null, id desc limit $1
        "#,
        most
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

struct Row {
    id: BulkId,
    change: String,
    filter: serde_json::Value,
    actor: String,
    reason: String,
    via: String,
    state: String,
    matched: i64,
    changed: i64,
    refused: i64,
    refusals: serde_json::Value,
    after_id: Option<JobId>,
    created_at: DateTime<Utc>,
    began_at: Option<DateTime<Utc>>,
    last_slice_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    error: Option<String>,
}

impl Row {
    fn read(self) -> Result<Operation, BulkError> {
        let id = self.id;
        let unreadable = |what: String| BulkError::Unreadable { id, what };
        let json = |error: serde_json::Error| BulkError::Unreadable { id, what: error.to_string() };
        Ok(Operation {
            id,
            change: self.change.parse().map_err(unreadable)?,
            filter: serde_json::from_value(self.filter).map_err(json)?,
            actor: self.actor,
            reason: self.reason,
            // A door that a newer release knows is none of ours to tell.
            via: Via::ALL.into_iter().find(|via| via.name() == self.via).unwrap_or(Via::System),
            stage: self.state.parse().map_err(unreadable)?,
            matched: self.matched,
            changed: self.changed,
            refused: self.refused,
            refusals: serde_json::from_value(self.refusals).map_err(json)?,
            created_at: self.created_at,
            began_at: self.began_at,
            last_slice_at: self.last_slice_at,
            finished_at: self.finished_at,
            error: self.error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_says_what_it_lets_through_and_text_is_meant_as_it_is_written() {
        let filter = Filter { kind: Some("sync_orders".to_owned()), ..Filter::default() };
        assert_eq!(filter.describe(Change::Requeue), r#"{"kind":"sync_orders"}"#);
        assert_eq!(Filter::default().describe(Change::Discard), "all dead letters");
        assert_eq!(Filter::default().describe(Change::Cancel), "all unfinished jobs");
        assert_eq!(like(r"100% of_a\b"), r"%100\% of\_a\\b%");
    }
}
