//! Jobs as the ledger knows them: a filtered list ([`listing`]), and one with everything that is known of it.

use chrono::{DateTime, Utc};
use queue::{
    BatchId, JobId, Queue, State, WorkerId,
    dead::{self, FailedRun},
    progress::Progress,
};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;

use crate::ops::deadlines::{self, JobDeadline};

mod listing;

pub use self::listing::{CAPPED_AT, LOOK, StateCounts, counts, list};

/// Which jobs to list. A filter that is `None` lets all through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this kind.
    pub kind: Option<String>,
    /// In this state.
    pub state: Option<State>,
    /// On this queue.
    pub queue: Option<Queue>,
    /// For this group, which is usually a seller's id.
    pub group: Option<String>,
    /// Whose last error contains this text, as it is written.
    pub error_contains: Option<String>,
    /// Dead letters of a group of [`crate::ops::dead::groups`], by its key.
    pub pattern: Option<String>,
    /// Enqueued at this moment or later.
    pub since: Option<DateTime<Utc>>,
    /// Enqueued before this moment.
    pub until: Option<DateTime<Utc>>,
    /// Ended at this moment or later.
    pub ended_since: Option<DateTime<Utc>>,
    /// Ended before this moment.
    pub ended_until: Option<DateTime<Utc>>,
    /// Of this batch.
    pub batch: Option<BatchId>,
    /// Enqueued by this job.
    pub caused_by: Option<JobId>,
    /// That came through this door.
    pub cause: Option<String>,
    /// Enqueued before this one: the `next` of the page before.
    pub before: Option<JobId>,
}

/// Most jobs on a page.
pub const MAX_PAGE: u16 = 500;

/// A job in a list.
#[derive(Debug, Clone, Serialize)]
pub struct JobLine {
    /// The job.
    pub id: JobId,
    /// What sort of work.
    pub kind: String,
    /// Where it waits.
    pub queue: String,
    /// Whom it is for.
    pub group: String,
    /// What it is now, as [`State::name`].
    pub state: String,
    /// Failed attempts.
    pub attempts: i32,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When it may run next.
    pub due_at: DateTime<Utc>,
    /// When its last run began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Why it is delayed.
    pub waits_for: Option<String>,
    /// The last failed run's error.
    pub last_error: Option<String>,
}

/// Some jobs, the last enqueued first.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<JobLine>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<JobId>,
    /// Where no index knows a filter, only so many jobs are looked at for one page: how many, if that is why the page ends.
    pub looked_at: Option<i64>,
}

/// That somebody wants a job cancelled.
#[derive(Debug, Clone, Serialize)]
pub struct CancelRequest {
    /// Since when.
    pub at: DateTime<Utc>,
    /// Who; `None` where it was not done through the console.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// Everything that is known of a job.
#[derive(Debug, Clone, Serialize)]
pub struct JobRecord {
    /// The job.
    pub id: JobId,
    /// What sort of work.
    pub kind: String,
    /// Where it waits.
    pub queue: String,
    /// Whom it is for.
    pub group: String,
    /// What it is now, as [`State::name`].
    pub state: String,
    /// Ids and choices.
    pub payload: Value,
    /// Failed attempts.
    pub attempts: i32,
    /// Runs whose worker was lost.
    pub crashes: i32,
    /// Runs that ended in "later, not counted".
    pub snoozes: i32,
    /// Worker that runs or ran it last.
    pub worker: Option<WorkerId>,
    /// No second job may carry it: until this one is done, its first run begins, or its period is over.
    pub unique_key: Option<String>,
    /// How long, where the key is held.
    pub unique: Option<String>,
    /// At most one job ever may carry it.
    pub idempotency_key: Option<String>,
    /// Which door it came through.
    pub cause: String,
    /// The job whose run enqueued it.
    pub caused_by: Option<JobId>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When its state last changed.
    pub touched_at: DateTime<Utc>,
    /// When it may run next.
    pub due_at: DateTime<Utc>,
    /// When it must be done.
    pub deadline_at: Option<DateTime<Utc>>,
    /// Cancelled if no run has begun by then.
    pub expires_at: Option<DateTime<Utc>>,
    /// The batch it belongs to.
    pub batch: Option<BatchId>,
    /// What enqueued it, as a W3C traceparent.
    pub traceparent: Option<String>,
    /// Version of its payload.
    pub payload_version: i16,
    /// When its last run began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Why it is delayed.
    pub waits_for: Option<String>,
    /// How far its last run has told that it came.
    pub progress: Option<Progress>,
    /// Where somebody wanted it cancelled.
    pub cancel: Option<CancelRequest>,
    /// What the run that finished it reports.
    pub report: Option<Value>,
    /// The last failed run's error.
    pub last_error: Option<String>,
    /// Whether Redis has not been told of it yet.
    pub in_outbox: bool,
    /// How it stands to its deadline, where it has one.
    pub deadline: Option<JobDeadline>,
    /// Every failed run, the first first.
    pub failures: Vec<FailedRun>,
}

/// The job with everything that is known of it; `None` when the ledger has no such job.
///
/// # Errors
/// When the database fails.
pub async fn show(
    connection: &mut PgConnection,
    id: JobId,
    now: DateTime<Utc>,
) -> Result<Option<JobRecord>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select kind, queue, group_name, state, payload, attempts, crashes, snoozes, worker as "worker: WorkerId",
            coalesce(unique_key, waiting_key, period_key) as unique_key,
            case when unique_key is not null then 'until done' when waiting_key is not null then 'while waiting'
                when period_key is not null then 'until ' || to_char(upper(period) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
            end as "unique",
            idempotency_key, cause, caused_by as "caused_by: JobId", created_at, touched_at, due_at,
            deadline_at, expires_at, batch_id as "batch: BatchId", traceparent, payload_version, started_at, finished_at, waits_for, report, last_error,
            progress, cancel_requested_at, acts.actor as "cancelled_by?", acts.reason as "cancel_reason?",
            exists (select from outbox where outbox.job_id = jobs.id) as "in_outbox!"
        from jobs left join lateral (
            select actor, reason from audit_log
            where cancel_requested_at is not null and target = jobs.id::text and action = 'jobs.cancel'
            order by audit_log.id desc limit 1
        ) as acts on true
        where id = $1
        "#,
        id.0
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let failures = dead::failures(connection, id).await?;
    let deadline = match row.deadline_at {
        Some(_) => deadlines::of_job(connection, id, now).await?,
        None => None,
    };
    Ok(Some(JobRecord {
        id,
        kind: row.kind,
        queue: row.queue,
        group: row.group_name,
        state: row.state,
        payload: row.payload,
        attempts: row.attempts,
        crashes: row.crashes,
        snoozes: row.snoozes,
        worker: row.worker,
        unique_key: row.unique_key,
        unique: row.unique,
        idempotency_key: row.idempotency_key,
        cause: row.cause,
        caused_by: row.caused_by,
        created_at: row.created_at,
        touched_at: row.touched_at,
        due_at: row.due_at,
        deadline_at: row.deadline_at,
        expires_at: row.expires_at,
        batch: row.batch,
        traceparent: row.traceparent,
        payload_version: row.payload_version,
        started_at: row.started_at,
        finished_at: row.finished_at,
        waits_for: row.waits_for,
        // A newer release may write more; what cannot be read is not shown.
        progress: row.progress.and_then(|told| serde_json::from_value(told).ok()),
        cancel: row.cancel_requested_at.map(|at| CancelRequest {
            at,
            by: row.cancelled_by,
            reason: row.cancel_reason,
        }),
        report: row.report,
        last_error: row.last_error,
        in_outbox: row.in_outbox,
        deadline,
        failures,
    }))
}
