//! `/jobs/ID`: everything that is known of one job; of one that has not ended, also what is in its way.

use std::time::Duration;

use axum::{
    extract::{Path, State},
    response::{Html, Response},
};
use maud::{Markup, html};
use queue::{
    Engine, JobId, State as JobState, bulk::Change, cancel::CancelError, failure, hurry::HurryError,
    progress::Progress,
};
use serde_json::Value;
use sqlx::PgConnection;

mod timeline;

use crate::{
    auth::{Permission, Person},
    console::Console,
    ops::{
        Act, bulk,
        cancel::{self as cancelling, Answer},
        deadlines::JobDeadline,
        explain::{self, Explained},
        jobs::{self, CancelRequest, JobRecord},
        run_now,
        story::{self, Related, Story},
    },
    pages::{
        acting::{self, Acting, Nothing},
        layout::{self, Frame, Place},
        parts,
        problem::Problem,
    },
};

pub(super) async fn page(
    State(console): State<Console>,
    person: Person,
    Path(id): Path<String>,
) -> Result<Html<String>, Problem> {
    let id: JobId = id.parse().map_err(Problem::Address)?;
    let mut connection = console.pool.acquire().await?;
    let now = console.engine.clock().now();
    let job = jobs::show(&mut connection, id, now).await?.ok_or_else(|| {
        Problem::NotFound(format!("There is no job {id}. The ledger forgets none, so check the id."))
    })?;
    let why = match job.finished_at {
        Some(_) => Ok(Vec::new()),
        None => why(&mut connection, &console.engine, id).await,
    };
    let story = story::of(&mut connection, id).await?;
    let title = format!("{} {id}", job.kind);
    let frame = Frame { title: &title, place: Place::Jobs, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content(&job, &why, &story, &person)))
}

pub(super) async fn requeue(
    State(console): State<Console>,
    Path(id): Path<String>,
    Acting { act, form: Nothing {} }: Acting<Nothing>,
) -> Result<Response, Problem> {
    decide(&console, &id, Change::Requeue, &act).await
}

pub(super) async fn discard(
    State(console): State<Console>,
    Path(id): Path<String>,
    Acting { act, form: Nothing {} }: Acting<Nothing>,
) -> Result<Response, Problem> {
    decide(&console, &id, Change::Discard, &act).await
}

async fn decide(console: &Console, id: &str, change: Change, act: &Act) -> Result<Response, Problem> {
    let id: JobId = id.parse().map_err(Problem::Address)?;
    let mut connection = console.pool.acquire().await?;
    let changed = bulk::change(&mut connection, change, &[id], act, console.now()).await?;
    match changed.refused.into_iter().next() {
        Some(refused) => Err(Problem::Conflict(refused.why)),
        None => Ok(acting::done(
            &format!("/jobs/{id}"),
            match change {
                Change::Requeue => "Requeued: it runs again with all its attempts.",
                Change::Discard => "Discarded: it stays in the ledger as cancelled.",
                Change::Cancel => "Cancelled, or asked to stop where it runs.",
            },
        )),
    }
}

pub(super) async fn cancel(
    State(console): State<Console>,
    Path(id): Path<String>,
    Acting { act, form: Nothing {} }: Acting<Nothing>,
) -> Result<Response, Problem> {
    let id: JobId = id.parse().map_err(Problem::Address)?;
    let mut connection = console.pool.acquire().await?;
    let notice = match cancelling::cancel(&mut connection, id, &act, console.now()).await {
        Ok(Answer::AtOnce) => "Cancelled: it waited.",
        Ok(Answer::Asked) => "Asked to stop: its run ends within seconds.",
        Ok(Answer::AskedBefore { .. }) => "Nothing new: it was asked to stop before.",
        Err(CancelError::Database(error)) => return Err(error.into()),
        Err(error @ CancelError::Unknown(_)) => return Err(Problem::NotFound(error.to_string())),
        Err(error @ CancelError::Ended { .. }) => return Err(Problem::Conflict(error.to_string())),
    };
    Ok(acting::done(&format!("/jobs/{id}"), notice))
}

pub(super) async fn run_now(
    State(console): State<Console>,
    Path(id): Path<String>,
    Acting { act, form: Nothing {} }: Acting<Nothing>,
) -> Result<Response, Problem> {
    let id: JobId = id.parse().map_err(Problem::Address)?;
    let mut connection = console.pool.acquire().await?;
    match run_now::run_now(&mut connection, id, &act, console.now()).await {
        Ok(()) => Ok(acting::done(&format!("/jobs/{id}"), "It is ready: a worker takes it in its turn.")),
        Err(HurryError::Database(error)) => Err(error.into()),
        Err(error @ HurryError::Unknown(_)) => Err(Problem::NotFound(error.to_string())),
        Err(error @ HurryError::NotDelayed { .. }) => Err(Problem::Conflict(error.to_string())),
    }
}

/// Longest wait for Redis before the page is shown without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is in the job's way, or why that cannot be told.
async fn why(connection: &mut PgConnection, engine: &Engine, id: JobId) -> Result<Vec<Explained>, String> {
    match tokio::time::timeout(PATIENCE, explain::why(connection, engine, id)).await {
        Ok(told) => told.map_err(|error| {
            tracing::warn!(job.id = %id, error = failure::chain(&error), "a job's page does not say why it waits");
            error.to_string()
        }),
        Err(_) => Err("Redis does not answer".to_owned()),
    }
}

fn content(job: &JobRecord, why: &Result<Vec<Explained>, String>, story: &Story, person: &Person) -> Markup {
    html! {
        h1 { (job.kind) " " (parts::state(&job.state)) }
        p.id.whole { (job.id) }
        @if person.may(Permission::Operate) { (buttons(job, person)) }
        @if let Some(told) = &job.progress { (progress(told)) }
        @if let Some(request) = &job.cancel { (asked_to_stop(request, &job.state)) }
        (reasons(why))
        div.columns {
            section {
                h2 { "About" }
                dl {
                    dt { "For" } dd { (parts::group_link(&job.group)) }
                    dt { "Queue" } dd { (job.queue) }
                    dt { "Cause" } dd {
                        (job.cause)
                        @if let Some(by) = job.caused_by { " " (parts::job_link(by)) }
                    }
                    dt { "Runs that failed" } dd { (job.attempts) }
                    dt { "Workers lost" } dd { (job.crashes) }
                    dt { "Snoozes" } dd { (job.snoozes) }
                    @if let Some(worker) = job.worker { dt { "Worker" } dd.id { (worker) } }
                    @if let (Some(key), Some(how_long)) = (&job.unique_key, &job.unique) {
                        dt { "Unique " (how_long) } dd.id { (key) }
                    }
                    @if let Some(key) = &job.idempotency_key { dt { "Idempotency key" } dd.id { (key) } }
                    @if let Some(batch) = job.batch { dt { "Batch" } dd.id { (batch) } }
                    @if let Some(trace) = &job.traceparent { dt { "Trace" } dd.id { (trace) } }
                }
            }
            section {
                h2 { "Times" }
                dl {
                    dt { "Enqueued" } dd { (parts::moment(job.created_at)) }
                    dt { "Due" } dd { (parts::moment(job.due_at)) }
                    @if let Some(at) = job.deadline_at { dt { "Must be done by" } dd { (parts::moment(at)) } }
                    @if let Some(deadline) = &job.deadline {
                        dt { "Latest safe start" } dd { (parts::moment(deadline.latest_safe_start)) }
                    }
                    @if let Some(at) = job.expires_at { dt { "Expires" } dd { (parts::moment(at)) } }
                    @if let Some(at) = job.started_at { dt { "Last run began" } dd { (parts::moment(at)) } }
                    @if let Some(at) = job.finished_at {
                        dt { "Ended" }
                        dd {
                            (parts::moment(at))
                        }
                        @if let Some(began) = job.started_at {
                            dt { "Last run took" } dd { (parts::span(at - began)) }
                        }
                    }
                }
            }
        }
        @if let Some(deadline) = &job.deadline { (escalations(deadline)) }
        (json_block("Payload", Some(&job.payload)))
        (json_block("Report", job.report.as_ref()))
        (timeline::of(job, story))
        (family("Caused by", &story.causes, false))
        (family("It caused", &story.follow, story.more_follow))
    }
}

/// What may be done about a job in its state.
fn buttons(job: &JobRecord, person: &Person) -> Markup {
    let button = |act: &str, label: &str, danger: bool| {
        acting::act(person, &format!("/jobs/{}/{act}", job.id), label, danger, &html! {})
    };
    html! {
        @match job.state.parse() {
            Ok(JobState::Dead) => div.acts { (button("requeue", "Requeue", false)) (button("discard", "Discard", true)) },
            Ok(JobState::Delayed) => div.acts { (button("run-now", "Run now", false)) (button("cancel", "Cancel", true)) },
            Ok(JobState::Ready | JobState::Running) => div.acts { (button("cancel", "Cancel", true)) },
            Ok(JobState::Done | JobState::Cancelled) | Err(_) => {},
        }
    }
}

/// Jobs that led to this one, or follow from it.
fn family(title: &str, jobs: &[Related], more: bool) -> Markup {
    html! {
        @if !jobs.is_empty() {
            section {
                h2 { (title) }
                ol.plain { @for job in jobs { li {
                    (parts::job_link(job.id)) " " (job.kind) " " (parts::state(&job.state)) " " (parts::moment(job.created_at))
                } } }
                @if more { p.note { "The last of them; there are more." } }
            }
        }
    }
}

fn progress(told: &Progress) -> Markup {
    html! {
        p.progress {
            (parts::bar(told.done, told.total))
            @if let Some(message) = &told.message { ": " (message) }
        }
    }
}

fn asked_to_stop(request: &CancelRequest, state: &str) -> Markup {
    html! {
        p.notice {
            strong {
                @if state == JobState::Running.name() { "Asked to stop" } @else { "Cancelling it was asked for" }
            }
            " " (parts::moment(request.at))
            @if let Some(by) = &request.by { " by " (by) }
            @if let Some(reason) = &request.reason { ": " (reason) }
        }
    }
}

fn reasons(why: &Result<Vec<Explained>, String>) -> Markup {
    html! {
        @match why {
            Ok(why) if why.is_empty() => {},
            Ok(why) => section {
                h2 { "What it waits for" }
                ol.failures.reasons {
                    @for reason in why {
                        li {
                            (parts::with_commands(&reason.says)) "."
                            @if let Some(advice) = &reason.advice { div { (parts::with_commands(advice)) } }
                        }
                    }
                }
            },
            Err(unknown) => section {
                h2 { "What it waits for" }
                p { "Cannot be told now: " (unknown) ". The ledger knows the rest of this page." }
            },
        }
    }
}

fn escalations(deadline: &JobDeadline) -> Markup {
    html! {
        section {
            h2 { "Deadline" }
            p { strong { (deadline.level) } ": " (deadline.why) "." }
            @if !deadline.escalations.is_empty() {
                ol.failures {
                    @for reached in &deadline.escalations {
                        li {
                            div { (reached.level) " · " (parts::moment(reached.at)) }
                            pre { (reached.why) }
                        }
                    }
                }
            }
        }
    }
}

fn json_block(title: &str, value: Option<&Value>) -> Markup {
    html! {
        @if let Some(value) = value {
            section { h2 { (title) } pre { (format!("{value:#}")) } }
        }
    }
}
