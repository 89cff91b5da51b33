//! Jobs as the ledger knows them: a filtered list, and one with everything that is known of it.

use chrono::{DateTime, Utc};
use queue::{
    BatchId, JobId, Queue, State, WorkerId,
    dead::{self, FailedRun},
};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;

use crate::ops::deadlines::{self, JobDeadline};

/// Which jobs to list. A filter that is `None` lets all through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this kind.
    pub kind: Option<String>,
    /// In this state.
    pub state: Option<State>,
    /// On this queue.
    pub queue: Option<Queue>,
    /// For this group, which is usually a seller's id.
    pub group: Option<String>,
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

/// Up to `most` (at most [`MAX_PAGE`]) jobs that the filter lets through.
///
/// # Errors
/// When the database fails.
pub async fn list(connection: &mut PgConnection, filter: &Filter, most: u16) -> Result<Page, sqlx::Error> {
    let most = usize::from(most.clamp(1, MAX_PAGE));
    // One more than asked for tells whether there is a next page.
    let limit = i64::try_from(most + 1).unwrap_or(i64::MAX);
    let mut jobs = sqlx::query_as!(
        JobLine,
        r#"
        select id as "id: JobId", kind, queue, group_name as "group", state, attempts, created_at, due_at, started_at,
            finished_at, waits_for, last_error
        from jobs
        where ($1::text is null or kind = $1) and ($2::text is null or state = $2) and ($3::text is null or queue = $3)
            and ($4::text is null or group_name = $4) and ($5::uuid is null or id < $5)
        order by id desc limit $6
        "#,
        filter.kind,
        filter.state.map(State::name),
        filter.queue.map(Queue::name),
        filter.group,
        filter.before.map(|id| id.0),
        limit,
    )
    .fetch_all(connection)
    .await?;
    let more = jobs.len() > most;
    jobs.truncate(most);
    let next = jobs.last().filter(|_| more).map(|job| job.id);
    Ok(Page { jobs, next })
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
            exists (select from outbox where outbox.job_id = jobs.id) as "in_outbox!"
        from jobs where id = $1
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
        report: row.report,
        last_error: row.last_error,
        in_outbox: row.in_outbox,
        deadline,
        failures,
    }))
}
