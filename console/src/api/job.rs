//! A job as the API shows it, read from the ledger by its id, one or many at once.

use chrono::{DateTime, Utc};
use queue::{JobId, Queue, State, progress::Progress};
use runtime::ids::Uuid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;

/// What a job is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum JobState {
    /// Waits for a worker.
    Ready,
    /// Waits for its moment.
    Delayed,
    /// A worker runs it.
    Running,
    /// Ended well.
    Done,
    /// Ended in failure; a person decides what becomes of it.
    Dead,
    /// Ended because somebody or something said so.
    Cancelled,
}

impl JobState {
    const fn of(state: State) -> Self {
        match state {
            State::Ready => Self::Ready,
            State::Delayed => Self::Delayed,
            State::Running => Self::Running,
            State::Done => Self::Done,
            State::Dead => Self::Dead,
            State::Cancelled => Self::Cancelled,
        }
    }

    pub(super) const fn state(self) -> State {
        match self {
            Self::Ready => State::Ready,
            Self::Delayed => State::Delayed,
            Self::Running => State::Running,
            Self::Done => State::Done,
            Self::Dead => State::Dead,
            Self::Cancelled => State::Cancelled,
        }
    }
}

/// A queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum QueueName {
    /// What a law or contract gives hours for.
    Urgent,
    /// Syncs from Amazon and review requests.
    Sync,
    /// Mail.
    Mail,
    /// Exports and erasures.
    Heavy,
    /// Purges, rotation, backups.
    Upkeep,
}

impl QueueName {
    pub(super) const fn queue(self) -> Queue {
        match self {
            Self::Urgent => Queue::Urgent,
            Self::Sync => Queue::Sync,
            Self::Mail => Queue::Mail,
            Self::Heavy => Queue::Heavy,
            Self::Upkeep => Queue::Upkeep,
        }
    }
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobProgress {
    /// Pieces done.
    pub done: u64,
    /// Pieces in all, where that is known.
    pub total: Option<u64>,
    /// What it is doing.
    pub message: Option<String>,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    /// Its id.
    pub id: Uuid,
    /// What sort of work.
    #[schema(pattern = "^[a-z][a-z0-9_]{0,62}$")]
    pub kind: String,
    /// Where it waits.
    pub queue: String,
    /// Whom it is for, usually a seller's id.
    pub group: String,
    /// What it is now.
    pub state: JobState,
    /// Runs that failed.
    #[schema(minimum = 0)]
    pub attempts: i32,
    /// Runs in a row whose worker was lost.
    #[schema(minimum = 0)]
    pub crashes: i32,
    /// Runs that ended in "later, not counted".
    #[schema(minimum = 0)]
    pub snoozes: i32,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When it may run next.
    pub due_at: DateTime<Utc>,
    /// When its last run began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended; null while it has not.
    pub finished_at: Option<DateTime<Utc>>,
    /// When it must be done.
    pub deadline_at: Option<DateTime<Utc>>,
    /// Cancelled if no run has begun by then.
    pub expires_at: Option<DateTime<Utc>>,
    /// Why it is delayed.
    pub waits_for: Option<String>,
    /// Since when somebody wants it cancelled.
    pub cancel_requested_at: Option<DateTime<Utc>>,
    /// The batch it belongs to.
    pub batch: Option<Uuid>,
    /// Which door it came through: schedule, cli, job, batch, or api with the id of the key.
    pub cause: String,
    /// The job whose run enqueued it.
    pub caused_by: Option<Uuid>,
    /// The trace it belongs to, as a W3C traceparent.
    pub traceparent: Option<String>,
    /// How far its run has come.
    pub progress: Option<JobProgress>,
    /// What the run that ended it reports; null before.
    #[schema(value_type = Value)]
    pub report: Option<Value>,
    /// The last failed run's error.
    pub last_error: Option<String>,
    /// Ids and choices; only where one job is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    pub payload: Option<Value>,
}

impl Job {
    pub(super) const fn ended(&self) -> bool {
        self.finished_at.is_some()
    }
}

/// The columns that a [`Job`] is made of.
struct Row {
    id: Uuid,
    kind: String,
    queue: String,
    group_name: String,
    state: String,
    attempts: i32,
    crashes: i32,
    snoozes: i32,
    created_at: DateTime<Utc>,
    due_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    deadline_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    waits_for: Option<String>,
    cancel_requested_at: Option<DateTime<Utc>>,
    batch_id: Option<Uuid>,
    cause: String,
    caused_by: Option<Uuid>,
    traceparent: Option<String>,
    progress: Option<Value>,
    report: Option<Value>,
    last_error: Option<String>,
    payload: Option<Value>,
}

impl From<Row> for Job {
    fn from(row: Row) -> Self {
        // The table has no other state; where a newer release adds one, its end tells which of ours is nearest.
        let unknown = if row.finished_at.is_some() { State::Cancelled } else { State::Delayed };
        let progress = row.progress.and_then(|told| serde_json::from_value::<Progress>(told).ok());
        Self {
            id: row.id,
            kind: row.kind,
            queue: row.queue,
            group: row.group_name,
            state: JobState::of(row.state.parse().unwrap_or(unknown)),
            attempts: row.attempts,
            crashes: row.crashes,
            snoozes: row.snoozes,
            created_at: row.created_at,
            due_at: row.due_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            deadline_at: row.deadline_at,
            expires_at: row.expires_at,
            waits_for: row.waits_for,
            cancel_requested_at: row.cancel_requested_at,
            batch: row.batch_id,
            cause: row.cause,
            caused_by: row.caused_by,
            traceparent: row.traceparent,
            progress: progress.map(|told| JobProgress {
                done: told.done,
                total: told.total,
                message: told.message,
            }),
            report: row.report,
            last_error: row.last_error,
            payload: row.payload,
        }
    }
}

/// The jobs with these ids that there are, in any order.
///
/// # Errors
/// When the database fails.
pub(super) async fn load(
    connection: &mut PgConnection,
    ids: &[JobId],
    with_payload: bool,
) -> Result<Vec<Job>, sqlx::Error> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"
        select id, kind, queue, group_name, state, attempts, crashes, snoozes, created_at, due_at, started_at, finished_at,
            deadline_at, expires_at, waits_for, cancel_requested_at, batch_id, cause, caused_by, traceparent, progress, report,
            last_error, case when $2 then payload end as payload
        from jobs where id = any($1)
        "#,
        &ids,
        with_payload,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Job::from).collect())
}
