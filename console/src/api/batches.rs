//! Batches: many jobs, and one that follows when all of them have ended. Opened, filled in as many requests as it takes,
//! sealed, looked up.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use queue::{
    BatchId,
    batch::{self, BatchError, Progress},
    outbox::EnqueueError,
};
use runtime::ids::Uuid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    body::{self, BulkBody, IdInPath, JsonBody, Parameters},
    enqueue::{self, BulkAnswer, BulkRequest, FollowUpRequest},
    holders::Holder,
    problem::{Problem, ProblemBody, Sort},
};
use crate::{auth::api_key::Scope, ops::batches};

/// A batch, and what has become of its jobs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    /// Its id.
    pub id: Uuid,
    /// Jobs in it.
    #[schema(minimum = 0)]
    pub total: i64,
    /// Of these, ended well.
    #[schema(minimum = 0)]
    pub done: i64,
    /// Ended in failure.
    #[schema(minimum = 0)]
    pub dead: i64,
    /// Ended because somebody or something said so.
    #[schema(minimum = 0)]
    pub cancelled: i64,
    /// Not yet ended.
    #[schema(minimum = 0)]
    pub unfinished: i64,
    /// Since when no job may join; null while it is open.
    pub sealed_at: Option<DateTime<Utc>>,
    /// When all had ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The job that follows, once it is enqueued.
    pub follow_up: Option<Uuid>,
}

impl From<Progress> for Batch {
    fn from(progress: Progress) -> Self {
        Self {
            id: progress.id.0,
            total: progress.total,
            done: progress.done,
            dead: progress.dead,
            cancelled: progress.cancelled,
            unfinished: progress.unfinished,
            sealed_at: progress.sealed_at,
            finished_at: progress.finished_at,
            follow_up: progress.follow_up.map(|job| job.0),
        }
    }
}

/// A batch that was opened.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenedBatch {
    /// Its id.
    pub id: Uuid,
}

/// Open a batch
#[utoipa::path(
    post, path = "/v1/batches", tag = "batches", operation_id = "openBatch",
    responses((status = 201, description = "It is open.", body = OpenedBatch,
        headers(("Location" = String, description = "Where it is looked up.")))),
)]
pub(super) async fn open(State(api): State<Api>) -> Result<Response, Problem> {
    let id = batch::open(&mut *api.console.pool.acquire().await?, api.now()).await?;
    let mut response = (StatusCode::CREATED, Json(OpenedBatch { id: id.0 })).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("/v1/batches/{id}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// Which batches to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BatchParameters {
    /// Where the page begins: the `next` of the page before.
    #[serde(default)]
    #[param(nullable = false)]
    pub cursor: Option<Uuid>,
    /// Most batches of a page; 50 unless it is said.
    #[serde(default)]
    #[param(minimum = 1, maximum = 500, nullable = false)]
    pub limit: Option<u16>,
}

/// A batch in a list; its counts are asked for one by one.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchLine {
    /// Its id.
    pub id: Uuid,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// Since when no job may join; null while it is open.
    pub sealed_at: Option<DateTime<Utc>>,
    /// When all of its jobs had ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Some batches, the last opened first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchPage {
    /// The batches.
    #[schema(max_items = 500)]
    pub batches: Vec<BatchLine>,
    /// The `cursor` of the next page; null on the last one.
    pub next: Option<Uuid>,
}

/// List batches
///
/// The last opened first, a page at a time.
#[utoipa::path(
    get, path = "/v1/batches", tag = "batches", operation_id = "listBatches",
    params(BatchParameters),
    responses((status = 200, description = "A page.", body = BatchPage)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Parameters(asked): Parameters<BatchParameters>,
) -> Result<Json<BatchPage>, Problem> {
    let most = asked.limit.unwrap_or(50);
    if !(1..=500).contains(&most) {
        return Err(Problem::parameter("limit", "is out of its limits", "1 to 500"));
    }
    let mut connection = api.console.pool.acquire().await?;
    let (lines, more) = batches::page(&mut connection, asked.cursor.map(BatchId), most).await?;
    let next = lines.last().filter(|_| more).map(|line| line.id.0);
    let batches = lines.into_iter().map(|line| BatchLine {
        id: line.id.0,
        created_at: line.created_at,
        sealed_at: line.sealed_at,
        finished_at: line.finished_at,
    });
    Ok(Json(BatchPage { batches: batches.collect(), next }))
}

/// Look up a batch
///
/// With what has become of its jobs so far.
#[utoipa::path(
    get, path = "/v1/batches/{id}", tag = "batches", operation_id = "getBatch",
    params(("id" = Uuid, Path, description = "The batch's id.")),
    responses(
        (status = 200, description = "The batch.", body = Batch),
        (status = 404, description = "There is none.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn one(State(api): State<Api>, IdInPath(id): IdInPath) -> Result<Json<Batch>, Problem> {
    let mut connection = api.console.pool.acquire().await?;
    let progress = batch::progress(&mut connection, BatchId(id)).await?.ok_or_else(no_batch)?;
    Ok(Json(progress.into()))
}

fn no_batch() -> Problem {
    Problem::new(
        Sort::NotFound,
        "There is no batch with this id; finished ones are deleted when their last job is.",
    )
}

/// Add up to 1,000 jobs to a batch
///
/// As POST /v1/jobs/bulk, each into this batch. A job that exists already does not join.
#[utoipa::path(
    post, path = "/v1/batches/{id}/jobs", tag = "batches", operation_id = "addJobs",
    params(
        ("id" = Uuid, Path, description = "The batch's id."),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 190 visible ASCII characters.",
            min_length = 1, max_length = 190, pattern = "^[\\x21-\\x7e]+$"),
    ),
    request_body(content = BulkRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "What became of each.", body = BulkAnswer),
        (status = 404, description = "There is none.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It is sealed.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn add(
    State(api): State<Api>,
    holder: Holder,
    IdInPath(id): IdInPath,
    headers: HeaderMap,
    BulkBody(request): BulkBody<BulkRequest>,
) -> Result<Json<BulkAnswer>, Problem> {
    if !holder.may(Scope::Enqueue) {
        let what = "To add jobs to a batch, the key needs the scope `enqueue` too.";
        return Err(Problem::new(Sort::NotInScope, what));
    }
    let mut connection = api.console.pool.acquire().await?;
    let sealed_at = batches::sealed_at(&mut connection, BatchId(id)).await?.ok_or_else(no_batch)?;
    drop(connection);
    if sealed_at.is_some() {
        return Err(sealed());
    }
    enqueue::many(&api, &holder, &headers, request, Some(id)).await.map(Json)
}

fn sealed() -> Problem {
    Problem::new(Sort::Conflict, "The batch is sealed: no job may join it any more. Open another one.")
}

/// How a batch is sealed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SealRequest {
    /// The job that follows when all have ended; nothing for none.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(value_type = FollowUpRequest, required = false)]
    pub follow_up: Option<Value>,
}

/// Seal a batch
///
/// No job joins it any more. When all have ended, the follow-up is enqueued, once.
#[utoipa::path(
    post, path = "/v1/batches/{id}/seal", tag = "batches", operation_id = "sealBatch",
    params(("id" = Uuid, Path, description = "The batch's id.")),
    request_body(content = SealRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "It is sealed.", body = Batch),
        (status = 404, description = "There is none.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It was sealed before.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn seal(
    State(api): State<Api>,
    holder: Holder,
    IdInPath(id): IdInPath,
    JsonBody(request): JsonBody<SealRequest>,
) -> Result<Json<Batch>, Problem> {
    let now = api.now();
    let follow_up = request.follow_up.map(|asked| follow_up(&holder, asked, now)).transpose()?;
    let id = BatchId(id);
    let mut connection = api.console.pool.acquire().await?;
    batches::sealed_at(&mut connection, id).await?.ok_or_else(no_batch)?;
    batch::seal(&mut connection, id, follow_up.as_ref(), now).await.map_err(|error| match error {
        BatchError::NotOpen(_) => sealed(),
        BatchError::Refused { source: EnqueueError::Database(error), .. } | BatchError::Database(error) => {
            Problem::database(&error)
        }
        BatchError::Refused { .. } | BatchError::Unreadable { .. } => {
            Problem::field("/follow_up/payload", "cannot be stored", "values that Postgres can store")
        }
    })?;
    let progress = batch::progress(&mut connection, id).await?.ok_or_else(no_batch)?;
    Ok(Json(progress.into()))
}

fn follow_up(holder: &Holder, asked: Value, now: DateTime<Utc>) -> Result<queue::outbox::NewJob, Problem> {
    if !holder.may(Scope::Enqueue) {
        let what = "To name a job that follows, the key needs the scope `enqueue` too.";
        return Err(Problem::new(Sort::NotInScope, what));
    }
    let below = |problem: Problem| problem.with_pointers_below("/follow_up");
    let asked = body::from_value::<FollowUpRequest>(asked).map_err(below)?;
    let job = enqueue::prepare(holder, asked.into(), None, None, now).map_err(below)?;
    // What enqueues it is the end of the batch, whoever sealed it.
    Ok(queue::outbox::NewJob { cause: queue::outbox::Cause::Batch, ..job })
}
