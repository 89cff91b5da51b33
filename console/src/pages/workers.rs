//! `/workers`: every worker that lives, where it is, and what it runs now.

use std::time::Duration;

use axum::{extract::State, response::Html};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use queue::{Queue, failure};

use crate::{
    auth::Person,
    console::Console,
    ops::workers::{self, LivingWorker, MOST_RUNS, WorkersError},
    pages::{
        layout::{self, Frame, Place},
        parts,
        problem::Problem,
    },
};

/// Longest wait for Redis before the page says that it does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn page(State(console): State<Console>, person: Person) -> Result<Html<String>, Problem> {
    let mut connection = console.pool.acquire().await?;
    let now = console.now();
    let found = match tokio::time::timeout(PATIENCE, workers::list(&mut connection, &console.engine)).await {
        Ok(Ok(found)) => Some(found),
        Ok(Err(WorkersError::Database(error))) => return Err(error.into()),
        Ok(Err(error @ WorkersError::Redis(_))) => {
            tracing::warn!(error = failure::chain(&error), "the workers are not known");
            None
        }
        Err(_) => None,
    };
    let content = html! {
        h1 { "Workers" }
        @match &found {
            None => p.wrong { strong { "Redis does not answer." } " Which workers live is known there alone; what they ran goes on until their leases end. /readyz says more." },
            Some(found) if found.is_empty() => p.empty { "No worker lives. Start one: " code { "worker" } ", with the settings of deploy/env.example." },
            Some(found) => (table(found, now)),
        }
    };
    let frame = Frame { title: "Workers", place: Place::Workers, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content))
}

fn table(found: &[LivingWorker], now: DateTime<Utc>) -> Markup {
    let without: Vec<_> = Queue::ALL
        .into_iter()
        .filter(|queue| !found.iter().any(|worker| worker.queue == *queue))
        .map(Queue::name)
        .collect();
    html! {
        p.hint {
            (parts::quantity(i64::try_from(found.len()).unwrap_or(i64::MAX), "worker")) "; a process has one for each of its queues."
            @if !without.is_empty() { " Nobody works on " (without.join(", ")) "." }
        }
        div.scroll tabindex="0" role="region" aria-label="Workers" {
            table.cards {
                thead { tr {
                    th scope="col" { "worker" }
                    th scope="col" { "queue" }
                    th scope="col" { "where" }
                    th scope="col" { "release" }
                    th scope="col" { "since" }
                    th scope="col" { "last sign of life" }
                    th scope="col" { "slots" }
                    th scope="col" { "runs now" }
                } }
                tbody { @for worker in found { (row(worker, now)) } }
            }
        }
    }
}

fn row(worker: &LivingWorker, now: DateTime<Utc>) -> Markup {
    let running = worker.running as u64;
    html! {
        tr id={ "worker-" (worker.id) } {
            th scope="row" { (parts::worker(worker.id)) }
            td data-label="queue" { (worker.queue) }
            @match &worker.who {
                Some(who) => {
                    td data-label="where" { (who.host) span.quiet { " process " (who.process_id) } }
                    td data-label="release" { (who.version) }
                    td data-label="since" { (parts::age(who.started_at, now)) }
                },
                None => {
                    td data-label="where" { span.none { "not known" } }
                    td data-label="release" { span.none { "–" } }
                    td data-label="since" { span.none { "–" } }
                },
            }
            td data-label="last sign of life" { (parts::age(worker.last_seen_at, now.max(worker.last_seen_at))) }
            td data-label="slots" {
                @match &worker.who {
                    Some(who) => (parts::bar(running, Some(u64::from(who.slots.unsigned_abs())))),
                    None => (running),
                }
            }
            td data-label="runs now" {
                @if worker.runs.is_empty() {
                    span.none { "nothing" }
                } @else {
                    ul.plain {
                        @for run in &worker.runs {
                            li { (parts::job_link(run.id)) " " (run.kind) " " span.quiet { (parts::group_link(&run.group)) ", " (parts::age(run.since, now)) } }
                        }
                        @if worker.running > MOST_RUNS { li.quiet { "… and " (worker.running - MOST_RUNS) " more" } }
                    }
                }
            }
        }
    }
}
