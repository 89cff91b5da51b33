//! Enqueues a job that a person asks for: the catalog checks the payload, the outbox takes the job.
//!
//! Repeating is safe where the kind is unique or an idempotency key is given: the answer then names the job that is there.

use chrono::{DateTime, Utc};
use jobs::catalog::CATALOG;
use queue::{
    job::PayloadError,
    outbox::{self, Cause, Enqueued},
};
use serde_json::Value;
use sqlx::PgConnection;
use thiserror::Error;

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
    /// At most one job ever with this key.
    pub idempotency_key: Option<String>,
}

/// Why a job was not enqueued.
#[derive(Debug, Error)]
pub enum EnqueueError {
    /// No such kind, or the payload does not fit it.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The door refused it, or the database failed.
    #[error(transparent)]
    Door(#[from] outbox::EnqueueError),
}

impl EnqueueError {
    /// Whether the same request would be refused again.
    #[must_use]
    pub const fn refused(&self) -> bool {
        !matches!(self, Self::Door(outbox::EnqueueError::Database(_)))
    }
}

/// Enqueues a job. It exists when the caller's transaction commits; outside of one, when this returns.
///
/// # Errors
/// When the kind is unknown, the payload does not fit, the door refuses it, or the database fails.
pub async fn enqueue(
    connection: &mut PgConnection,
    request: Request,
    now: DateTime<Utc>,
) -> Result<Enqueued, EnqueueError> {
    let mut job = CATALOG.prepare(&request.kind, request.payload, request.cause)?;
    job.due_at = request.due_at;
    job.idempotency_key = request.idempotency_key;
    let id = job.id;
    let answers = outbox::enqueue(connection, &[job], now).await?;
    // The outbox answers for each job, so there is always a first one.
    Ok(answers.into_iter().next().unwrap_or(Enqueued::New(id)))
}
