//! What a program asks for of a job, and the job that is made of it; or which field is not right.

use chrono::{DateTime, TimeDelta, Utc};
use jobs::catalog::CATALOG;
use queue::{
    BatchId, TraceContext, Unique,
    job::PayloadError,
    outbox::{self, Cause, EnqueueError, MAX_PAYLOAD_BYTES, NewJob},
};
use runtime::ids::Uuid;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    body,
    holders::Holder,
    payload,
    problem::{Problem, Sort},
};
use crate::{
    auth::api_key::Scope,
    ops::enqueue::{self, MAX_KEY_BYTES, Request},
};

/// How long the kind and payload of a job are refused once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum UniqueName {
    /// Until its first run begins.
    WhileWaiting,
    /// Until it has ended.
    UntilDone,
}

/// A job to enqueue.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobRequest {
    /// What sort of work; GET /v1/kinds lists them.
    #[schema(pattern = "^[a-z][a-z0-9_]{0,62}$", example = "sync_orders")]
    pub kind: String,
    /// Ids and choices, as the kind's JSON Schema has them: never a name, an address or a secret.
    #[schema(value_type = Object, example = json!({"seller": "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10"}))]
    pub payload: Value,
    /// Run it so many seconds later. Not together with `due_at`.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(minimum = 0, maximum = 31_536_000, nullable = false)]
    pub delay_seconds: Option<u32>,
    /// Not before this moment, at most a year ahead. Not together with `delay_seconds`.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(nullable = false)]
    pub due_at: Option<DateTime<Utc>>,
    /// Must be done by this moment; ops are told when that gets tight.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(nullable = false)]
    pub deadline_at: Option<DateTime<Utc>>,
    /// Cancelled if no run has begun by this moment.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(nullable = false)]
    pub expires_at: Option<DateTime<Utc>>,
    /// Refuse a second job of this kind and payload for so long; the answer then names the first. Only for kinds that do
    /// not say so themselves (`unique` in GET /v1/kinds).
    #[serde(default, deserialize_with = "body::present")]
    #[schema(nullable = false)]
    pub unique: Option<UniqueName>,
    /// The same, for so many seconds after it was enqueued. Not together with `unique`.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(minimum = 1, maximum = 31_536_000, nullable = false)]
    pub unique_for_seconds: Option<u32>,
    /// The batch it joins, which must be open. Needs the scope `batches`.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(nullable = false)]
    pub batch: Option<Uuid>,
    /// At most one job of this owner ever carries it. Of a single job, the header `Idempotency-Key` says the same.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(min_length = 1, max_length = 200, pattern = "^[\\x21-\\x7e]+$", nullable = false)]
    pub idempotency_key: Option<String>,
}

/// A job that follows a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FollowUpRequest {
    /// What sort of work; GET /v1/kinds lists them.
    #[schema(pattern = "^[a-z][a-z0-9_]{0,62}$", example = "plan_review_requests")]
    pub kind: String,
    /// Ids and choices, as the kind's JSON Schema has them.
    #[schema(value_type = Object, example = json!({"seller": "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10"}))]
    pub payload: Value,
}

impl From<FollowUpRequest> for JobRequest {
    fn from(asked: FollowUpRequest) -> Self {
        Self {
            kind: asked.kind,
            payload: asked.payload,
            delay_seconds: None,
            due_at: None,
            deadline_at: None,
            expires_at: None,
            unique: None,
            unique_for_seconds: None,
            batch: None,
            idempotency_key: None,
        }
    }
}

/// Longest delay.
const LONGEST: TimeDelta = TimeDelta::days(365);

/// Checks what is asked for and makes a job of it.
pub(super) fn prepare(
    holder: &Holder,
    asked: JobRequest,
    in_header: Option<&str>,
    trace: Option<TraceContext>,
    now: DateTime<Utc>,
) -> Result<NewJob, Problem> {
    let due_at = due_at(&asked, now)?;
    check_moments(&asked, due_at, now)?;
    // What stands with the job is meant for it; the header is for all that have none.
    let key = asked.idempotency_key.as_deref().or(in_header);
    if let Some(key) = key
        && !is_key(key)
    {
        return Err(Problem::field("/idempotency_key", "is not right", "1 to 200 visible ASCII characters"));
    }
    if asked.batch.is_some() && !holder.may(Scope::Batches) {
        let what = "To put a job into a batch, the key needs the scope `batches` too.";
        return Err(Problem::new(Sort::NotInScope, what));
    }
    if CATALOG.get(&asked.kind).is_some() && !holder.may_see(&asked.kind) {
        let what = format!("This key is not for jobs of the kind `{}`.", asked.kind);
        return Err(Problem::new(Sort::NotThisKind, what));
    }
    if !asked.payload.is_object() {
        return Err(Problem::field("/payload", "has the wrong type", "a JSON object"));
    }
    let request = Request {
        kind: asked.kind.clone(),
        payload: asked.payload.clone(),
        cause: Cause::Api(holder.key.id.0),
        due_at,
        deadline_at: asked.deadline_at,
        idempotency_key: None,
        expires_at: asked.expires_at,
        trace,
    };
    let mut job = enqueue::prepare(request, now).map_err(|error| not_prepared(&error))?;
    job.idempotency_key = key.map(|key| holder.idempotency_key(key));
    job.batch = asked.batch.map(BatchId);
    make_unique(&mut job, &asked)?;
    outbox::check(&job).map_err(|error| not_taken(&error))?;
    Ok(job)
}

fn due_at(asked: &JobRequest, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Problem> {
    match (asked.delay_seconds, asked.due_at) {
        (Some(_), Some(_)) => {
            Err(Problem::field("/delay_seconds", "is there together with due_at", "one of the two"))
        }
        (Some(seconds), None) if i64::from(seconds) > LONGEST.num_seconds() => {
            Err(Problem::field("/delay_seconds", "is too large", "0 to 31536000"))
        }
        (Some(seconds), None) => Ok(Some(now + TimeDelta::seconds(i64::from(seconds)))),
        (None, Some(moment)) if moment > now + LONGEST => {
            Err(Problem::field("/due_at", "is too far away", "a moment within a year"))
        }
        // What lies in the past is due now.
        (None, Some(moment)) => Ok(Some(moment.max(now))),
        (None, None) => Ok(None),
    }
}

fn check_moments(
    asked: &JobRequest,
    due_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<(), Problem> {
    let due = due_at.unwrap_or(now);
    let moments = [("/deadline_at", asked.deadline_at), ("/expires_at", asked.expires_at)];
    for (pointer, moment) in moments.into_iter().filter_map(|(pointer, moment)| Some((pointer, moment?))) {
        if moment <= due {
            return Err(Problem::field(
                pointer,
                "has passed before the job could run",
                "a moment after now and after it is due",
            ));
        }
        if moment > now + LONGEST * 2 {
            return Err(Problem::field(pointer, "is too far away", "a moment within two years"));
        }
    }
    Ok(())
}

fn make_unique(job: &mut NewJob, asked: &JobRequest) -> Result<(), Problem> {
    let unique = match (asked.unique, asked.unique_for_seconds) {
        (None, None) => return Ok(()),
        (Some(_), Some(_)) => {
            return Err(Problem::field(
                "/unique",
                "is there together with unique_for_seconds",
                "one of the two",
            ));
        }
        (Some(UniqueName::WhileWaiting), None) => Unique::WhileWaiting,
        (Some(UniqueName::UntilDone), None) => Unique::UntilDone,
        (None, Some(seconds)) if (1..=31_536_000).contains(&seconds) => {
            Unique::For(std::time::Duration::from_secs(u64::from(seconds)))
        }
        (None, Some(_)) => {
            return Err(Problem::field("/unique_for_seconds", "is out of its limits", "1 to 31536000"));
        }
    };
    let pointer = if asked.unique.is_some() { "/unique" } else { "/unique_for_seconds" };
    if job.unique_key.is_some() {
        // A kind relies on what it says about itself.
        let expected = format!("nothing: the kind is unique {} by itself", job.unique);
        return Err(Problem::field(pointer, "cannot be chosen for this kind", expected));
    }
    job.unique_key = Some(format!("{}:{}", job.kind, job.payload));
    job.unique = unique;
    Ok(())
}

fn not_prepared(error: &enqueue::EnqueueError) -> Problem {
    match error {
        enqueue::EnqueueError::Payload(payload) => not_a_payload(payload),
        enqueue::EnqueueError::Door(door) => not_taken(door),
        enqueue::EnqueueError::IdempotencyKey { .. } => {
            Problem::field("/idempotency_key", "is not right", "1 to 200 visible ASCII characters")
        }
        enqueue::EnqueueError::DeadlinePassed(_) => {
            Problem::field("/deadline_at", "has passed", "a moment that is still to come")
        }
    }
}

fn not_a_payload(error: &PayloadError) -> Problem {
    match error {
        PayloadError::UnknownKind { close, known, .. } => {
            let expected = match close {
                Some(close) => format!("{close}, perhaps; the kinds are {known}"),
                None => format!("one of {known}"),
            };
            Problem::field("/kind", "is no kind", expected)
        }
        PayloadError::Retired { known, .. } => {
            Problem::field("/kind", "was retired: its jobs are no longer run", format!("one of {known}"))
        }
        // The words have what was sent hidden already.
        PayloadError::DoesNotFit { why, misfits, .. } => Problem::fields(payload::wrong_fields(misfits, why)),
        PayloadError::TooOld { .. } | PayloadError::TooNew { .. } => {
            Problem::field("/payload", "is of another version", "the kind's current version")
        }
    }
}

fn not_taken(error: &EnqueueError) -> Problem {
    match error {
        EnqueueError::TooLarge { .. } => Problem::field(
            "/payload",
            "is too large",
            format!("at most {MAX_PAYLOAD_BYTES} bytes: store the data in a table and send its id"),
        ),
        EnqueueError::NullCharacter { .. } => {
            Problem::field("/payload", "holds the character U+0000", "text that Postgres can store")
        }
        EnqueueError::Group { .. } => Problem::field(
            "/payload",
            "is for a group without a name, or with too long a one",
            "1 to 100 bytes",
        ),
        EnqueueError::BatchNotOpen { .. } => batch_not_open(),
        EnqueueError::Database(error) => Problem::database(error),
    }
}

/// Its batch is sealed, or there is none.
pub(super) fn batch_not_open() -> Problem {
    Problem::new(Sort::Conflict, "The batch is sealed, or there is none with this id. Open another one.")
}

/// Whether a text can be an idempotency key.
pub(super) fn is_key(text: &str) -> bool {
    (1..=MAX_KEY_BYTES).contains(&text.len()) && text.bytes().all(|letter| letter.is_ascii_graphic())
}
