//! `POST /v1/jobs` and `POST /v1/jobs/bulk`: jobs that a program asks for, committed before they are answered.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, TimeDelta, Utc};
use jobs::catalog::CATALOG;
use queue::{
    BatchId, Kind, TraceContext, Unique,
    job::PayloadError,
    outbox::{self, Cause, EnqueueError, MAX_PAYLOAD_BYTES, NewJob},
};
use runtime::ids::Uuid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Api,
    body::{self, BulkBody, JsonBody},
    committer::{Became, CommitError},
    holders::Holder,
    payload,
    problem::{Problem, ProblemBody, Sort},
};
use crate::ops::enqueue::{self, MAX_KEY_BYTES, Request};

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

/// What became of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It is enqueued; of a repeated request, it was then.
    Created,
    /// Another one with its unique key is there already.
    Existing,
    /// Nothing was enqueued; `problem` says why.
    Refused,
}

/// A job that is there.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EnqueuedJob {
    /// The job that will do the work, or did it.
    pub id: Uuid,
    /// Its kind.
    pub kind: String,
    /// `created` or `existing`.
    pub outcome: Outcome,
}

/// Jobs to enqueue.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkRequest {
    /// One to 1,000 jobs. Each is answered for itself.
    #[schema(value_type = Vec<JobRequest>, min_items = 1, max_items = 1000)]
    pub jobs: Vec<Value>,
}

/// What became of one of the jobs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkItem {
    /// What became of it.
    pub outcome: Outcome,
    /// The job, unless it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub id: Option<Uuid>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub problem: Option<ProblemBody>,
}

/// What became of the jobs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkAnswer {
    /// How many were enqueued.
    pub created: usize,
    /// How many were there already.
    pub existing: usize,
    /// How many were refused.
    pub refused: usize,
    /// For each job, in the order they were sent.
    #[schema(min_items = 1, max_items = 1000)]
    pub items: Vec<BulkItem>,
}

/// Most jobs of one request.
pub(super) const MOST_IN_BULK: usize = 1_000;
/// Longest delay.
const LONGEST: TimeDelta = TimeDelta::days(365);
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Enqueue a job
///
/// It is committed when this answers. With the header `Idempotency-Key`, repeating the request gives the same answer.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs", operation_id = "enqueueJob",
    request_body(content = JobRequest, content_type = "application/json"),
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 200 visible ASCII characters; at most one job of this owner ever carries it.",
            min_length = 1, max_length = 200, pattern = "^[\\x21-\\x7e]+$"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context that the job's runs belong to; one that cannot be read is ignored."),
    ),
    responses(
        (status = 201, description = "It is enqueued, or was by the same request before.", body = EnqueuedJob,
            headers(("Location" = String, description = "Where it is looked up."))),
        (status = 200, description = "Another one with its unique key is there already.", body = EnqueuedJob),
        (status = 409, description = "Its batch takes no more jobs.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn one(
    State(api): State<Api>,
    holder: Holder,
    headers: HeaderMap,
    JsonBody(request): JsonBody<JobRequest>,
) -> Result<Response, Problem> {
    let in_header = idempotency_key(&headers)?;
    let kind = request.kind.clone();
    let job = prepare(&holder, request, in_header.as_deref(), trace(&headers), api.now())?;
    let became = api.committer.enqueue(vec![job]).await.map_err(unknown)?;
    let Some(became) = became.into_iter().next() else { return Err(Problem::unavailable()) };
    let (status, id, outcome) = match became {
        Became::Created(id) | Became::Replayed(id) => (StatusCode::CREATED, id, Outcome::Created),
        Became::Existing(id) => (StatusCode::OK, id, Outcome::Existing),
        Became::KeyReused | Became::BatchNotOpen | Became::Unstorable => return Err(refusal(&became)),
    };
    let mut response = (status, Json(EnqueuedJob { id: id.0, kind, outcome })).into_response();
    if status == StatusCode::CREATED
        && let Ok(place) = HeaderValue::from_str(&format!("/v1/jobs/{id}"))
    {
        response.headers_mut().insert(header::LOCATION, place);
    }
    if matches!(became, Became::Replayed(_)) {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Enqueue up to 1,000 jobs
///
/// Each is answered for itself: created, existing or refused with its problem. Those that are not refused are committed when
/// this answers. With the header `Idempotency-Key`, each job that has none of its own gets the header's with its place, so
/// repeating the request is safe.
#[utoipa::path(
    post, path = "/v1/jobs/bulk", tag = "jobs", operation_id = "enqueueJobs",
    request_body(content = BulkRequest, content_type = "application/json"),
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 190 visible ASCII characters.",
            min_length = 1, max_length = 190, pattern = "^[\\x21-\\x7e]+$"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context that the jobs' runs belong to; one that cannot be read is ignored."),
    ),
    responses((status = 200, description = "What became of each.", body = BulkAnswer)),
)]
pub(super) async fn bulk(
    State(api): State<Api>,
    holder: Holder,
    headers: HeaderMap,
    BulkBody(request): BulkBody<BulkRequest>,
) -> Result<Json<BulkAnswer>, Problem> {
    many(&api, &holder, &headers, request, None).await.map(Json)
}

/// Enqueues many jobs, into this batch where one is given.
pub(super) async fn many(
    api: &Api,
    holder: &Holder,
    headers: &HeaderMap,
    request: BulkRequest,
    batch: Option<Uuid>,
) -> Result<BulkAnswer, Problem> {
    let in_header = idempotency_key(headers)?;
    // With its place behind it, it must still be a key.
    if in_header.as_ref().is_some_and(|key| key.len() > MAX_KEY_BYTES - 10) {
        return Err(Problem::parameter(
            "Idempotency-Key",
            "is too long",
            "1 to 190 visible ASCII characters",
        ));
    }
    if !(1..=MOST_IN_BULK).contains(&request.jobs.len()) {
        return Err(Problem::field("/jobs", "has too few or too many items", "1 to 1000 jobs"));
    }
    let (now, trace) = (api.now(), trace(headers));
    let mut prepared = Vec::with_capacity(request.jobs.len());
    for (place, item) in request.jobs.into_iter().enumerate() {
        let job = body::from_value::<JobRequest>(item).and_then(|mut asked| {
            if let Some(batch) = batch {
                if asked.batch.is_some_and(|other| other != batch) {
                    return Err(Problem::field(
                        "/batch",
                        "is another batch",
                        "nothing, or the batch of the address",
                    ));
                }
                asked.batch = Some(batch);
            }
            let key = in_header.as_ref().map(|key| format!("{key}/{place}"));
            prepare(holder, asked, key.as_deref(), trace, now)
        });
        prepared.push(job.map_err(|problem| problem.with_pointers_below(&format!("/jobs/{place}"))));
    }
    let jobs = prepared.iter().filter_map(|job| job.as_ref().ok()).cloned().collect();
    let mut became = api.committer.enqueue(jobs).await.map_err(unknown)?.into_iter();
    let items = prepared.into_iter().map(|job| match job {
        Ok(_) => item(&became.next().unwrap_or(Became::Unstorable)),
        Err(problem) => refused(&problem),
    });
    let items: Vec<_> = items.collect();
    let count = |outcome| items.iter().filter(|item| item.outcome == outcome).count();
    Ok(BulkAnswer {
        created: count(Outcome::Created),
        existing: count(Outcome::Existing),
        refused: count(Outcome::Refused),
        items,
    })
}

fn item(became: &Became) -> BulkItem {
    match became {
        Became::Created(id) | Became::Replayed(id) => {
            BulkItem { outcome: Outcome::Created, id: Some(id.0), problem: None }
        }
        Became::Existing(id) => BulkItem { outcome: Outcome::Existing, id: Some(id.0), problem: None },
        Became::KeyReused | Became::BatchNotOpen | Became::Unstorable => refused(&refusal(became)),
    }
}

fn refused(problem: &Problem) -> BulkItem {
    BulkItem { outcome: Outcome::Refused, id: None, problem: Some(problem.body()) }
}

/// Checks what is asked for and makes a job of it.
pub(super) fn prepare(
    holder: &Holder,
    asked: JobRequest,
    in_header: Option<&str>,
    trace: Option<TraceContext>,
    now: DateTime<Utc>,
) -> Result<NewJob, Problem> {
    use crate::auth::api_key::Scope;
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
    let mut job = enqueue::prepare(request, now).map_err(|error| not_prepared(&error, &asked))?;
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

fn not_prepared(error: &enqueue::EnqueueError, asked: &JobRequest) -> Problem {
    match error {
        enqueue::EnqueueError::Payload(payload) => not_a_payload(payload, asked),
        enqueue::EnqueueError::Door(door) => not_taken(door),
        enqueue::EnqueueError::IdempotencyKey { .. } => {
            Problem::field("/idempotency_key", "is not right", "1 to 200 visible ASCII characters")
        }
        enqueue::EnqueueError::DeadlinePassed(_) => {
            Problem::field("/deadline_at", "has passed", "a moment that is still to come")
        }
    }
}

fn not_a_payload(error: &PayloadError, asked: &JobRequest) -> Problem {
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
        PayloadError::DoesNotFit { why, .. } => {
            let schema = CATALOG.get(&asked.kind).map(Kind::schema).unwrap_or(&Value::Null);
            Problem::fields(payload::wrong_fields(schema, &asked.payload, why))
        }
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
        EnqueueError::BatchNotOpen { .. } => refusal(&Became::BatchNotOpen),
        EnqueueError::Database(error) => Problem::database(error),
    }
}

/// Why a job that was prepared is not there.
fn refusal(became: &Became) -> Problem {
    match became {
        Became::KeyReused => Problem::new(
            Sort::KeyReused,
            "This idempotency key belongs to a job of another kind or payload. Use a new key for a new job.",
        ),
        Became::BatchNotOpen => Problem::new(
            Sort::Conflict,
            "The batch is sealed, or there is none with this id. Open another one.",
        ),
        Became::Unstorable | Became::Created(_) | Became::Replayed(_) | Became::Existing(_) => {
            Problem::field("/payload", "cannot be stored", "values that Postgres can store")
        }
    }
}

fn unknown(error: CommitError) -> Problem {
    match error {
        CommitError::Full => {
            Problem::new(Sort::Busy, "Too many jobs wait to be committed. Nothing was done; come again.")
                .retry_after(std::time::Duration::from_secs(1))
        }
        CommitError::Unavailable => Problem::unavailable(),
    }
}

fn is_key(text: &str) -> bool {
    (1..=MAX_KEY_BYTES).contains(&text.len()) && text.bytes().all(|letter| letter.is_ascii_graphic())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(given) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    // The draft has it in quotes; many clients send it bare.
    let text = given.to_str().unwrap_or_default().trim().trim_matches('"');
    if is_key(text) {
        Ok(Some(text.to_owned()))
    } else {
        Err(Problem::parameter("Idempotency-Key", "is not right", "1 to 200 visible ASCII characters"))
    }
}

fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    TraceContext::from_outside(headers.get("traceparent")?.to_str().ok()?)
}
