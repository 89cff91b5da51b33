//! `/jobs/ID`: everything that is known of one job.

use axum::{
    extract::{Path, State},
    response::Html,
};
use maud::{Markup, html};
use queue::{JobId, State as JobState};
use serde_json::Value;

use crate::{
    ops::{
        deadlines::JobDeadline,
        jobs::{self, JobRecord},
    },
    pages::{
        Console,
        layout::{self, Place},
        parts,
        problem::Problem,
    },
};

pub(super) async fn page(
    State(console): State<Console>,
    Path(id): Path<String>,
) -> Result<Html<String>, Problem> {
    let id: JobId = id.parse().map_err(Problem::Address)?;
    let mut connection = console.pool.acquire().await?;
    let now = console.engine.clock().now();
    let job = jobs::show(&mut connection, id, now).await?.ok_or_else(|| {
        Problem::NotFound(format!("There is no job {id}. The ledger forgets none, so check the id."))
    })?;
    let title = format!("{} {id}", job.kind);
    Ok(layout::page(&title, Place::Jobs, Some(now), &content(&job)))
}

fn content(job: &JobRecord) -> Markup {
    html! {
        h1 { (job.kind) " " (parts::state(&job.state)) }
        p.id.whole { (job.id) }
        @if job.state == JobState::Dead.name() {
            p.hint {
                "To run it again: " code { "amzigo dead requeue " (job.id) " --reason \"…\"" }
                br;
                "To give it up: " code { "amzigo dead discard " (job.id) " --reason \"…\"" }
            }
        }
        @if let Some(why) = &job.waits_for { p { "Waits for " (why) "." } }
        @if job.in_outbox { p { "Redis has not been told of it yet: it waits in the outbox." } }
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
        section {
            h2 { "Runs that failed" }
            @if job.failures.is_empty() {
                p.empty { "None." }
            } @else {
                ol.failures {
                    @for run in &job.failures {
                        li {
                            div { (what_followed(&run.decision)) " · " (parts::moment(run.at)) }
                            pre { (run.error) }
                        }
                    }
                }
            }
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

fn what_followed(decision: &str) -> &str {
    match decision {
        "retry" => "counted as an attempt",
        "reject" => "the job died",
        "crash" => "its worker was lost",
        other => other,
    }
}

fn json_block(title: &str, value: Option<&Value>) -> Markup {
    html! {
        @if let Some(value) = value {
            section { h2 { (title) } pre { (format!("{value:#}")) } }
        }
    }
}
