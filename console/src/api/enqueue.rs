//! `POST /v1/jobs` and `POST /v1/jobs/bulk`: jobs that a program asks for, committed before they are answered.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use queue::TraceContext;
use runtime::ids::Uuid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Api,
    body::{self, BulkBody, JsonBody},
    committer::{Became, CommitError},
    holders::Holder,
    job_request::{JobRequest, batch_not_open, is_key, prepare},
    problem::{Problem, ProblemBody, Sort},
};
use crate::ops::enqueue::MAX_KEY_BYTES;

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

/// Why a job that was prepared is not there.
fn refusal(became: &Became) -> Problem {
    match became {
        Became::KeyReused => Problem::new(
            Sort::KeyReused,
            "This idempotency key belongs to a job of another kind or payload. Use a new key for a new job.",
        ),
        Became::BatchNotOpen => batch_not_open(),
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
