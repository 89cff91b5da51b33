//! Enqueues a job that somebody outside asks for by its kind's name: the catalog checks the payload, the outbox takes the job.
//! Console, API and [`client`] come through here; the SQL function `enqueue_job` does the same in SQL, and a test holds the
//! two to each other.
//!
//! Repeating is safe where the kind is unique or an idempotency key is given: the answer then names the job that is there.
//!
//! [`client`]: crate::client

use chrono::{DateTime, Utc};
use queue::{
    Catalog, TraceContext,
    job::PayloadError,
    outbox::{self, Cause, Enqueued, MAX_PAYLOAD_BYTES, NewJob},
};
use serde_json::Value;
use sqlx::PgConnection;
use thiserror::Error;

use crate::catalog::CATALOG;

/// What is asked for.
#[derive(Debug)]
pub struct Request {
    /// Which kind.
    pub kind: String,
    /// Its payload.
    pub payload: Value,
    /// Through which door it comes.
    pub cause: Cause,
    /// Not before this moment.
    pub due_at: Option<DateTime<Utc>>,
    /// Must be done by this moment.
    pub deadline_at: Option<DateTime<Utc>>,
    /// At most one job ever with this key.
    pub idempotency_key: Option<String>,
    /// Cancelled if no run has begun by this moment.
    pub expires_at: Option<DateTime<Utc>>,
    /// Where in a trace it is asked for.
    pub trace: Option<TraceContext>,
}

/// Why a job was not enqueued.
#[derive(Debug, Error)]
pub enum EnqueueError {
    /// No such kind, or the payload does not fit it.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The idempotency key is empty, or longer than an index takes.
    #[error(
        "an idempotency key has 1 to {MAX_KEY_BYTES} bytes, not {bytes}; use an id or a hash of what you have"
    )]
    IdempotencyKey {
        /// Its length.
        bytes: usize,
    },
    /// Nobody could keep that promise.
    #[error("the deadline {0} has passed already; name a later one, with its time zone")]
    DeadlinePassed(DateTime<Utc>),
    /// The door refused it, or the database failed.
    #[error(transparent)]
    Door(#[from] outbox::EnqueueError),
}

/// Most bytes of an idempotency key from outside.
pub const MAX_KEY_BYTES: usize = 200;

impl EnqueueError {
    /// Whether the same request would be refused again.
    #[must_use]
    pub const fn refused(&self) -> bool {
        !matches!(self, Self::Door(outbox::EnqueueError::Database(_)))
    }
}

/// Checks what is asked for and makes a job of it, without asking the database.
///
/// # Errors
/// When the kind is unknown, the payload does not fit, or the deadline has passed.
pub fn prepare(request: Request, now: DateTime<Utc>) -> Result<NewJob, EnqueueError> {
    prepare_of(&CATALOG, request, now)
}

fn prepare_of<C: Send + Sync + 'static>(
    catalog: &Catalog<C>,
    request: Request,
    now: DateTime<Utc>,
) -> Result<NewJob, EnqueueError> {
    if let Some(bytes) = request.idempotency_key.as_ref().map(String::len)
        && !(1..=MAX_KEY_BYTES).contains(&bytes)
    {
        return Err(EnqueueError::IdempotencyKey { bytes });
    }
    if let Some(passed) = request.deadline_at.filter(|deadline_at| *deadline_at <= now) {
        return Err(EnqueueError::DeadlinePassed(passed));
    }
    // The door checks this too, but of a payload that is far too large its size is what helps, whatever else is wrong.
    let bytes = request.payload.to_string().len();
    if bytes > MAX_PAYLOAD_BYTES && catalog.get(&request.kind).is_some() {
        return Err(outbox::EnqueueError::TooLarge { kind: request.kind, bytes }.into());
    }
    let mut job = catalog.prepare(&request.kind, request.payload, request.cause)?;
    job.due_at = request.due_at;
    job.deadline_at = request.deadline_at;
    job.idempotency_key = request.idempotency_key;
    job.expires_at = request.expires_at;
    job.trace = request.trace;
    Ok(job)
}

/// Enqueues a job. It exists when the caller's transaction commits; outside of one, when this returns.
///
/// # Errors
/// When [`prepare`] refuses it, the door refuses it, or the database fails.
pub async fn enqueue(
    connection: &mut PgConnection,
    request: Request,
    now: DateTime<Utc>,
) -> Result<Enqueued, EnqueueError> {
    enqueue_of(&CATALOG, connection, request, now).await
}

/// The same with another catalog: for tests of the door.
///
/// # Errors
/// As [`enqueue`].
pub async fn enqueue_of<C: Send + Sync + 'static>(
    catalog: &Catalog<C>,
    connection: &mut PgConnection,
    request: Request,
    now: DateTime<Utc>,
) -> Result<Enqueued, EnqueueError> {
    let job = prepare_of(catalog, request, now)?;
    let id = job.id;
    let answers = outbox::enqueue(connection, &[job], now).await?;
    // The outbox answers for each job, so there is always a first one.
    Ok(answers.into_iter().next().unwrap_or(Enqueued::New(id)))
}
