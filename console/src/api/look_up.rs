//! Looking jobs up, cancelling them, and waiting for their end: by a long poll, or as server-sent events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::Stream;
use queue::{BatchId, JobId, cancel::CancelError};
use runtime::ids::Uuid;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::Instant};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    body::{IdInPath, JsonBody, Parameters},
    holders::Holder,
    job::{self, Job, JobState, QueueName},
    problem::{Problem, ProblemBody, Sort},
    watcher::Seen,
};
use crate::ops::{
    Act, Via,
    cancel::{self, Answer},
    jobs,
};

/// Look up a job
///
/// With its payload, and what its run reports.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "getJob",
    params(("id" = Uuid, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The job.", body = Job),
        (status = 404, description = "There is none that this key may see.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn one(
    State(api): State<Api>,
    holder: Holder,
    IdInPath(id): IdInPath,
) -> Result<Json<Job>, Problem> {
    let found = job::load(&mut *api.console.pool.acquire().await?, &[JobId(id)], true).await?;
    found.into_iter().next().filter(|job| holder.may_see(&job.kind)).map(Json).ok_or_else(no_job)
}

fn no_job() -> Problem {
    Problem::new(Sort::NotFound, "There is no job with this id that this key may see.")
}

/// Which jobs to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParameters {
    /// Of this kind.
    #[serde(default)]
    #[param(pattern = "^[a-z][a-z0-9_]{0,62}$", nullable = false)]
    pub kind: Option<String>,
    /// In this state.
    #[serde(default)]
    #[param(inline, nullable = false)]
    pub state: Option<JobState>,
    /// On this queue.
    #[serde(default)]
    #[param(inline, nullable = false)]
    pub queue: Option<QueueName>,
    /// For this group, usually a seller's id.
    #[serde(default)]
    #[param(min_length = 1, max_length = 100, pattern = "^[^\\x00]+$", nullable = false)]
    pub group: Option<String>,
    /// Of this batch.
    #[serde(default)]
    #[param(nullable = false)]
    pub batch: Option<Uuid>,
    /// Where the page begins: the `next` of the page before.
    #[serde(default)]
    #[param(nullable = false)]
    pub cursor: Option<Uuid>,
    /// Most jobs of a page; 50 unless it is said.
    #[serde(default)]
    #[param(minimum = 1, maximum = 500, nullable = false)]
    pub limit: Option<u16>,
}

/// Some jobs, the last enqueued first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobPage {
    /// The jobs, without their payloads.
    #[schema(max_items = 500)]
    pub jobs: Vec<Job>,
    /// The `cursor` of the next page; null on the last one.
    pub next: Option<Uuid>,
}

const PAGE: u16 = 50;
const MOST_ON_A_PAGE: u16 = 500;
/// Pages that are looked at for one where the key may not see all kinds.
const MOST_LOOKS: usize = 4;

/// List jobs
///
/// The last enqueued first, a page at a time. Where few jobs pass the filters, a page may have fewer than `limit`, even none:
/// go on while `next` is not null.
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", operation_id = "listJobs",
    params(ListParameters),
    responses((status = 200, description = "A page.", body = JobPage)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    holder: Holder,
    Parameters(asked): Parameters<ListParameters>,
) -> Result<Json<JobPage>, Problem> {
    let most = asked.limit.unwrap_or(PAGE);
    if !(1..=MOST_ON_A_PAGE).contains(&most) {
        return Err(Problem::parameter("limit", "is out of its limits", "1 to 500"));
    }
    if asked.kind.as_ref().is_some_and(|kind| !is_name(kind)) {
        return Err(Problem::parameter("kind", "is not right", "the name of a kind, as sync_orders"));
    }
    if asked
        .group
        .as_ref()
        .is_some_and(|group| !(1..=100).contains(&group.chars().count()) || group.contains('\0'))
    {
        return Err(Problem::parameter("group", "is not right", "1 to 100 characters, without U+0000"));
    }
    if asked.kind.as_ref().is_some_and(|kind| !holder.may_see(kind)) {
        return Ok(Json(JobPage { jobs: Vec::new(), next: None }));
    }
    let mut filter = jobs::Filter {
        kind: asked.kind.or_else(|| only_kind(&holder)),
        state: asked.state.map(JobState::state),
        queue: asked.queue.map(QueueName::queue),
        group: asked.group,
        batch: asked.batch.map(BatchId),
        before: asked.cursor.map(JobId),
        ..jobs::Filter::default()
    };
    let mut connection = api.console.pool.acquire().await?;
    let mut seen = Vec::new();
    for _ in 0..MOST_LOOKS {
        let wanted = usize::from(most) - seen.len();
        let page = jobs::list(&mut connection, &filter, most).await?;
        let may_see = page.jobs.iter().filter(|job| holder.may_see(&job.kind));
        let ids: Vec<_> = may_see.map(|job| job.id).collect();
        seen.extend(ids.iter().take(wanted).copied());
        // What did not fit on this page comes on the next.
        filter.before = if ids.len() > wanted { seen.last().copied() } else { page.next };
        if seen.len() == usize::from(most) || filter.before.is_none() {
            break;
        }
    }
    let mut jobs = job::load(&mut connection, &seen, false).await?;
    jobs.sort_unstable_by_key(|job| std::cmp::Reverse(job.id));
    Ok(Json(JobPage { jobs, next: filter.before.map(|id| id.0) }))
}

/// The one kind that the key is for, where there is only one.
fn only_kind(holder: &Holder) -> Option<String> {
    match holder.key.kinds.as_deref() {
        Some([kind]) => Some(kind.clone()),
        _ => None,
    }
}

/// Whether a text could be a kind's name.
fn is_name(text: &str) -> bool {
    let ours = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'_';
    text.len() <= 63 && text.starts_with(|first: char| first.is_ascii_lowercase()) && text.bytes().all(ours)
}

/// Why something is done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reason {
    /// Why, for the audit log; no personal data.
    #[schema(min_length = 1, max_length = 1000, pattern = "\\S")]
    pub reason: String,
}

/// What cancelling did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CancelOutcome {
    /// It waited, and is cancelled.
    Cancelled,
    /// It runs, and is asked to stop; its end tells what became of it.
    AskedToStop,
}

/// What became of a job that somebody wants cancelled.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelledJob {
    /// The job.
    pub id: Uuid,
    /// What was done.
    pub outcome: CancelOutcome,
}

/// Cancel a job
///
/// At once while it waits; one that runs is asked to stop. Written to the audit log.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", tag = "jobs", operation_id = "cancelJob",
    params(("id" = Uuid, Path, description = "The job's id.")),
    request_body(content = Reason, content_type = "application/json"),
    responses(
        (status = 200, description = "It is cancelled, or asked to stop.", body = CancelledJob),
        (status = 404, description = "There is none that this key may see.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It has ended already.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn cancel(
    State(api): State<Api>,
    holder: Holder,
    IdInPath(id): IdInPath,
    JsonBody(Reason { reason }): JsonBody<Reason>,
) -> Result<Json<CancelledJob>, Problem> {
    let wrong =
        || Problem::field("/reason", "is not right", "1 to 1000 characters that say why, without U+0000");
    let act = Act::new(&holder.actor(), &reason).map_err(|_| wrong())?.via(Via::Api);
    if reason.contains('\0') {
        return Err(wrong());
    }
    let id = JobId(id);
    let mut connection = api.console.pool.acquire().await?;
    let found = job::load(&mut connection, &[id], false).await?;
    if !found.first().is_some_and(|job| holder.may_see(&job.kind)) {
        return Err(no_job());
    }
    let answer = cancel::cancel(&mut connection, id, &act, api.now()).await.map_err(|error| match error {
        CancelError::Unknown(_) => no_job(),
        CancelError::Ended { state, .. } => Problem::new(
            Sort::Conflict,
            format!("The job is {state}: only one that waits or runs can be cancelled."),
        ),
        CancelError::Database(error) => Problem::database(&error),
    })?;
    let outcome = match answer {
        Answer::AtOnce => CancelOutcome::Cancelled,
        Answer::Asked | Answer::AskedBefore { .. } => CancelOutcome::AskedToStop,
    };
    Ok(Json(CancelledJob { id: id.0, outcome }))
}

/// How long to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WaitParameters {
    /// Seconds to wait at most; 30 unless it is said.
    #[serde(default)]
    #[param(minimum = 0, maximum = 60, nullable = false)]
    pub timeout: Option<u16>,
}

const WAIT_SECONDS: u16 = 30;
const MOST_WAIT_SECONDS: u16 = 60;
/// Until a job has been looked at for the first time.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Wait for a job's end
///
/// Answers when it has ended, at the latest after `timeout` seconds; `finished_at` tells which of the two it was.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/wait", tag = "jobs", operation_id = "waitForJob",
    params(("id" = Uuid, Path, description = "The job's id."), WaitParameters),
    responses(
        (status = 200, description = "The job as it is now.", body = Job),
        (status = 404, description = "There is none that this key may see.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn wait(
    State(api): State<Api>,
    holder: Holder,
    IdInPath(id): IdInPath,
    Parameters(asked): Parameters<WaitParameters>,
) -> Result<Json<Job>, Problem> {
    let seconds = asked.timeout.unwrap_or(WAIT_SECONDS);
    if seconds > MOST_WAIT_SECONDS {
        return Err(Problem::parameter("timeout", "is out of its limits", "0 to 60 seconds"));
    }
    let until = Instant::now() + Duration::from_secs(u64::from(seconds));
    let (mut receiver, mut seen) = first_look(&api, &holder, id).await?;
    while !seen.ended() {
        tokio::select! {
            changed = receiver.changed() => if changed.is_err() { break },
            () = tokio::time::sleep_until(until) => break,
            () = api.stopping.cancelled() => break,
        }
        seen = match &*receiver.borrow_and_update() {
            Seen::Job(job) => Arc::clone(job),
            Seen::None => return Err(no_job()),
            Seen::NotYet => seen,
        };
    }
    Ok(Json(Job::clone(&seen)))
}

/// The job as it is, and how to hear of what becomes of it.
async fn first_look(
    api: &Api,
    holder: &Holder,
    id: Uuid,
) -> Result<(watch::Receiver<Seen>, Arc<Job>), Problem> {
    let Some(mut receiver) = api.watcher.watch(JobId(id)) else {
        let what = "Too many jobs are waited for. Look it up instead, or come again.";
        return Err(Problem::new(Sort::Busy, what).retry_after(Duration::from_secs(5)));
    };
    let looked = receiver.wait_for(|seen| *seen != Seen::NotYet);
    let seen = match tokio::time::timeout(FIRST_LOOK, looked).await {
        Ok(Ok(seen)) => seen.clone(),
        Ok(Err(_)) | Err(_) => return Err(Problem::unavailable()),
    };
    match seen {
        Seen::Job(job) if holder.may_see(&job.kind) => Ok((receiver, job)),
        Seen::Job(_) | Seen::None => Err(no_job()),
        Seen::NotYet => Err(Problem::unavailable()),
    }
}

/// What happened to a job.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum JobEventName {
    /// Its state has changed, or is told first.
    State,
    /// Its run has come further.
    Progress,
    /// It has ended; nothing follows.
    End,
}

impl JobEventName {
    const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Progress => "progress",
            Self::End => "end",
        }
    }
}

/// One server-sent event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobEvent {
    /// What happened.
    pub event: JobEventName,
    /// The job, as JSON.
    #[schema(content_media_type = "application/json")]
    pub data: String,
}

/// Follow a job until its end
///
/// Server-sent events: `state` when its state has changed, `progress` when its run has come further, and `end` as the last
/// one. The data of each is the job as JSON.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/events", tag = "jobs", operation_id = "followJob",
    params(("id" = Uuid, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "Events until its end.", body = JobEvent, content_type = "text/event-stream"),
        (status = 404, description = "There is none that this key may see.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn events(
    State(api): State<Api>,
    holder: Holder,
    IdInPath(id): IdInPath,
) -> Result<Response, Problem> {
    let (receiver, job) = first_look(&api, &holder, id).await?;
    let stream = told(Following { api, receiver, told: None, next: Some(job) });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response())
}

struct Following {
    api: Api,
    receiver: watch::Receiver<Seen>,
    told: Option<Arc<Job>>,
    /// What is to be told; `None` after the end.
    next: Option<Arc<Job>>,
}

/// What changes of a job, as events. Ends with the job, or when this process stops.
fn told(following: Following) -> impl Stream<Item = Result<Event, Infallible>> {
    futures::stream::unfold(following, |mut following| async move {
        if following.told.as_ref().is_some_and(|job| job.ended()) {
            return None;
        }
        while following.next.is_none() {
            tokio::select! {
                changed = following.receiver.changed() => changed.ok()?,
                () = following.api.stopping.cancelled() => return None,
            }
            following.next = match &*following.receiver.borrow_and_update() {
                Seen::Job(job) => Some(Arc::clone(job)),
                Seen::None => return None,
                Seen::NotYet => None,
            };
        }
        let job = following.next.take()?;
        let only_progress = following.told.as_ref().is_some_and(|before| before.state == job.state);
        let name = match (job.ended(), only_progress) {
            (true, _) => JobEventName::End,
            (false, true) => JobEventName::Progress,
            (false, false) => JobEventName::State,
        };
        let event = Event::default().event(name.name()).json_data(&*job).ok()?;
        following.told = Some(job);
        Some((Ok(event), following))
    })
}
