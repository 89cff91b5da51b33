//! The one door in: a job is born as a row of the ledger and of the outbox, in the transaction of the thing it follows
//! from. No job can exist without the fact that caused it, or the other way round.
//!
//! The relay (a service of the scheduler) takes rows out and pushes them to Redis. It pushes before it commits: a crash in
//! between pushes again, which is harmless, because the ledger runs one copy.

mod insert;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use chrono::{DateTime, Utc};
use runtime::ids::Uuid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use thiserror::Error;

use crate::{
    Engine, JobId,
    batch::{self, BatchId},
    envelope::Envelope,
    job::{Job, Run},
    policy::{Priority, Queue, Unique},
    ready::Entry,
    state::State,
    storable,
    trace::TraceContext,
};

/// Most bytes of a payload's JSON text. Payloads are ids and choices; what is larger belongs into a table.
pub const MAX_PAYLOAD_BYTES: usize = 65_536;
/// Most bytes of a group's name.
pub const MAX_GROUP_BYTES: usize = 100;

/// Which door a job came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A schedule's tick.
    Schedule,
    /// A person at a terminal.
    Cli,
    /// A program in Rust, in a transaction of its own.
    Rust,
    /// A person at a page of the console.
    Console,
    /// Another job.
    Job(JobId),
    /// The end of the last job of a batch.
    Batch,
    /// A program, over HTTP, with the key that has this id.
    Api(Uuid),
}

impl Cause {
    /// As in the table: the door, and which key came through it.
    fn name(self) -> Cow<'static, str> {
        match self {
            Self::Schedule => "schedule".into(),
            Self::Cli => "cli".into(),
            Self::Rust => "rust".into(),
            Self::Console => "console".into(),
            Self::Job(_) => "job".into(),
            Self::Batch => "batch".into(),
            Self::Api(key) => format!("api:{key}").into(),
        }
    }

    const fn job(self) -> Option<JobId> {
        match self {
            Self::Job(id) => Some(id),
            Self::Schedule | Self::Cli | Self::Rust | Self::Console | Self::Batch | Self::Api(_) => None,
        }
    }
}

/// A job that is not yet enqueued.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// What sort of work.
    pub kind: String,
    /// Version of its payload.
    pub version: u8,
    /// Where it waits.
    pub queue: Queue,
    /// How urgent it is there.
    pub priority: Priority,
    /// Whom it is for.
    pub group: String,
    /// Ids and choices.
    pub payload: Value,
    /// No second job may carry it for as long as `unique` says.
    pub unique_key: Option<String>,
    /// How long the unique key is held.
    pub unique: Unique,
    /// At most one job ever may carry it.
    pub idempotency_key: Option<String>,
    /// Not before this moment.
    pub due_at: Option<DateTime<Utc>>,
    /// Must be done by this moment.
    pub deadline_at: Option<DateTime<Utc>>,
    /// Cancelled if no run has begun by this moment.
    pub expires_at: Option<DateTime<Utc>>,
    /// Cancelled if no run has begun this long after one could; `expires_at` goes before.
    pub expires_after: Option<Duration>,
    /// The batch it joins, which must be open. A job that exists already does not join.
    pub batch: Option<BatchId>,
    /// Where in a trace it is enqueued.
    pub trace: Option<TraceContext>,
    /// Which door.
    pub cause: Cause,
}

impl NewJob {
    /// A job of the kind with this name, as it was before anybody asked for more.
    #[must_use]
    pub fn raw(kind: &str, queue: Queue, group: &str, payload: Value, cause: Cause) -> Self {
        Self {
            id: JobId::new(),
            kind: kind.to_owned(),
            version: 1,
            queue,
            priority: Priority::Normal,
            group: group.to_owned(),
            payload,
            unique_key: None,
            unique: Unique::UntilDone,
            idempotency_key: None,
            due_at: None,
            deadline_at: None,
            expires_at: None,
            expires_after: None,
            batch: None,
            trace: None,
            cause,
        }
    }

    /// The job that `job` describes.
    #[must_use]
    pub fn of<J: Job>(job: &J, cause: Cause) -> Self {
        // A payload type that cannot be written as JSON becomes null, which its first run rejects.
        let payload = serde_json::to_value(job).unwrap_or(Value::Null);
        let policy = J::POLICY;
        Self {
            version: J::VERSION,
            priority: policy.priority,
            unique_key: policy.unique.map(|_| format!("{}:{payload}", J::KIND)),
            unique: policy.unique.unwrap_or_default(),
            expires_after: policy.expires_after,
            ..Self::raw(J::KIND, policy.queue, &J::GROUP.of(&payload), payload, cause)
        }
    }

    /// The job that `job` describes, enqueued by a run: caused by its job, and part of its trace.
    #[must_use]
    pub fn caused_by<J: Job>(job: &J, run: &Run) -> Self {
        Self { trace: run.trace, ..Self::of(job, Cause::Job(run.id)) }
    }

    /// Not before this moment.
    #[must_use]
    pub fn due_at(mut self, moment: DateTime<Utc>) -> Self {
        self.due_at = Some(moment);
        self
    }

    /// Must be done by this moment; the scheduler says so when it no longer can.
    #[must_use]
    pub const fn deadline_at(mut self, moment: DateTime<Utc>) -> Self {
        self.deadline_at = Some(moment);
        self
    }

    /// How urgent it is within its queue.
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// At most one job ever with this key.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}

/// What became of a job at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It is enqueued.
    New(JobId),
    /// Another one with the same unique or idempotency key is there already. If it was still waiting for a later moment than
    /// this one asks for, it is brought forward.
    Exists(JobId),
}

impl Enqueued {
    /// The job that will do the work, or did it.
    #[must_use]
    pub const fn id(self) -> JobId {
        match self {
            Self::New(id) | Self::Exists(id) => id,
        }
    }
}

/// Why a job was refused at the door. Nothing was enqueued.
#[derive(Debug, Error)]
pub enum EnqueueError {
    /// Too large.
    #[error(
        "the payload of `{kind}` has {bytes} bytes, more than the {MAX_PAYLOAD_BYTES} allowed; \
         store the data in a table and put its id into the payload"
    )]
    TooLarge {
        /// The kind.
        kind: String,
        /// Its size.
        bytes: usize,
    },
    /// Postgres cannot store it.
    #[error("the payload, group or key of `{kind}` holds the character U+0000, which cannot be stored")]
    NullCharacter {
        /// The kind.
        kind: String,
    },
    /// Its group has no name, or too long a one.
    #[error("the group of `{kind}` must have 1 to {MAX_GROUP_BYTES} bytes, not {bytes}")]
    Group {
        /// The kind.
        kind: String,
        /// Its length.
        bytes: usize,
    },
    /// Its batch takes no more jobs.
    #[error("batch {batch} is sealed, or there is none with this id; open another one")]
    BatchNotOpen {
        /// The batch.
        batch: BatchId,
    },
    /// The database failed.
    #[error("could not write the job")]
    Database(#[from] sqlx::Error),
}

/// Enqueues jobs in the caller's transaction: they exist when it commits. The answers come in the order of `jobs`.
///
/// # Errors
/// When one of them is refused, or the database fails; then none is enqueued.
pub async fn enqueue(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    now: DateTime<Utc>,
) -> Result<Vec<Enqueued>, EnqueueError> {
    let mut payloads = Vec::with_capacity(jobs.len());
    for job in jobs {
        payloads.push(checked_payload(job)?);
    }
    batch::keep_open(connection, jobs.iter().filter_map(|job| job.batch)).await?;
    let mut answers: HashMap<JobId, Enqueued> = HashMap::with_capacity(jobs.len());
    let mut left: Vec<(&NewJob, String)> = jobs.iter().zip(payloads).collect();
    // Everybody takes keys in the same order, so that two who want the same ones do not wait for each other.
    left.sort_by(|(one, _), (other, _)| {
        (&one.unique_key, &one.idempotency_key).cmp(&(&other.unique_key, &other.idempotency_key))
    });
    while !left.is_empty() {
        let born = insert::insert(connection, &left, now).await?;
        answers.extend(born.into_iter().map(|id| (id, Enqueued::New(id))));
        left.retain(|(job, _)| !answers.contains_key(&job.id));
        let existing = insert::existing(connection, &left, now).await?;
        insert::bring_forward(connection, &existing, now).await?;
        answers.extend(existing.into_iter().map(|there| (there.refused, Enqueued::Exists(there.holder))));
        // What is left now met another job that has ended since: the key is free again.
        left.retain(|(job, _)| !answers.contains_key(&job.id));
    }
    Ok(jobs.iter().filter_map(|job| answers.get(&job.id).copied()).collect())
}

/// Whether [`enqueue`] would take the job, as far as that can be told without the database.
///
/// # Errors
/// When it is too large, or Postgres cannot store it.
pub fn check(job: &NewJob) -> Result<(), EnqueueError> {
    checked_payload(job).map(|_| ())
}

/// The payload's text, when the job can be stored.
pub(crate) fn checked_payload(job: &NewJob) -> Result<String, EnqueueError> {
    let text = job.payload.to_string();
    let bytes = storable::stored_bytes(&job.payload, &text);
    if bytes > MAX_PAYLOAD_BYTES {
        return Err(EnqueueError::TooLarge { kind: job.kind.clone(), bytes });
    }
    let names = [Some(&job.group), job.unique_key.as_ref(), job.idempotency_key.as_ref()];
    if storable::has_null(&job.payload) || names.into_iter().flatten().any(|name| name.contains('\0')) {
        return Err(EnqueueError::NullCharacter { kind: job.kind.clone() });
    }
    if job.group.is_empty() || job.group.len() > MAX_GROUP_BYTES {
        return Err(EnqueueError::Group { kind: job.kind.clone(), bytes: job.group.len() });
    }
    Ok(text)
}

/// Moves up to `most` jobs from the outbox to Redis. Returns how many; call again while that is `most`.
///
/// # Errors
/// When Postgres or Redis fails; then nothing has left the outbox.
pub async fn relay(pool: &PgPool, engine: &Engine, most: usize) -> Result<usize, RelayError> {
    // A crash of Postgres may forget that the rows were taken: they are pushed again, which is harmless. Not worth waiting
    // for its disk.
    let mut transaction = pool.begin_with("begin; set local synchronous_commit = off").await?;
    let rows = sqlx::query!(
        r#"
        with taken as (
            delete from outbox where job_id in
                (select job_id from outbox order by job_id limit $1 for update skip locked)
            returning job_id
        )
        select taken.job_id as "id!", kind as "kind?", queue as "queue?", group_name as "group_name?",
            payload::text as payload, state as "state?", due_at as "due_at?", priority as "priority?",
            payload_version as "payload_version?"
        from taken left join jobs on jobs.id = taken.job_id and state in ('ready', 'delayed')
        order by taken.job_id
        "#,
        i64::try_from(most).unwrap_or(i64::MAX),
    )
    .fetch_all(&mut *transaction)
    .await?;
    let count = rows.len();
    let mut by_queue: BTreeMap<Queue, Vec<Entry>> = BTreeMap::new();
    for row in rows {
        // Cancelled before it was relayed, or even pruned: nothing to push.
        let (Some(kind), Some(queue), Some(group), Some(payload)) =
            (row.kind, row.queue, row.group_name, row.payload)
        else {
            continue;
        };
        let Ok(queue) = queue.parse() else {
            tracing::error!(job.id = %row.id, queue.name = queue, "left a job aside: this release does not know its queue; the census of one that does will find it");
            continue;
        };
        let delayed = row.state.as_deref() == Some(State::Delayed.name());
        let envelope = Envelope {
            id: JobId(row.id),
            priority: row.priority.and_then(|name| name.parse().ok()).unwrap_or_default(),
            version: row.payload_version.and_then(|version| u8::try_from(version).ok()).unwrap_or(1),
            group,
            kind,
            payload: payload.into_bytes(),
        };
        by_queue.entry(queue).or_default().push((row.due_at.filter(|_| delayed), envelope));
    }
    for (queue, entries) in by_queue {
        engine.push(queue, &entries).await?;
    }
    transaction.commit().await?;
    Ok(count)
}

/// Why jobs stayed in the outbox.
#[derive(Debug, Error)]
pub enum RelayError {
    /// Postgres failed.
    #[error("could not take jobs out of the outbox")]
    Database(#[from] sqlx::Error),
    /// Redis failed.
    #[error("could not push jobs to Redis")]
    Redis(#[from] redis::RedisError),
}
