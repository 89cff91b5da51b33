//! `/`: what is wrong first, then queues and states, what runs, what ended, what died.

use axum::{Extension, extract::Query, response::Html};
use maud::{Markup, PreEscaped, html};
use queue::{State as JobState, dead::DeadLetter, deadline::Level};

use crate::{
    auth::Person,
    ops::{
        batches::{MOST_COUNTED, OpenBatch},
        controls::{Control, Setting},
        counts::COUNTED,
        history::History,
        overview::{FinishedJob, Overview, Problem as Wrong, RunningJob},
    },
    pages::{
        history,
        layout::{self, Frame, Place},
        live::{Asked, Live},
        parts::{self, query},
        problem::Problem,
    },
};

pub(super) async fn page(
    Extension(live): Extension<Live>,
    person: Person,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, Problem> {
    let span = asked.span()?;
    let written = live.now(span).await?;
    let frame =
        Frame { title: "Overview", place: Place::Overview, now: Some(written.now), person: Some(&person) };
    let content = html! {
        div #live data-stream={ "/live?span=" (span.name()) } { (PreEscaped(&*written.content)) }
    };
    Ok(layout::page(&frame, &content))
}

/// What all who look at this span see; nothing of it is for one person alone.
pub(super) fn content(overview: &Overview, history: &History) -> Markup {
    let title = match overview.problems.len() {
        0 => "Overview".to_owned(),
        some => format!("({some}) Overview"),
    };
    html! {
        h1.hidden data-title=(title) data-now=(overview.now.format("%H:%M:%S UTC")) { "Overview" }
        (wrong(overview))
        (paused(overview))
        (history::tiles(overview, history))
        (history::charts(history))
        (queues(overview, history))
        (limits(overview))
        (batches(overview))
        div.columns {
            (running(overview))
            (finished(overview))
        }
        (dead(overview))
    }
}

fn wrong(overview: &Overview) -> Markup {
    let now = overview.now;
    html! {
        @if overview.problems.is_empty() {
            p.well { "Nothing is wrong." }
        } @else {
            ul.wrong aria-label="What is wrong" {
                @for problem in &overview.problems {
                    @match problem {
                        Wrong::RedisAway => li {
                            strong { "Redis does not answer." }
                            " No job starts until it is back; none is lost. /readyz says more."
                        },
                        Wrong::NoScheduler => li {
                            strong { "No scheduler leads." }
                            " Nothing new reaches the queues, no schedule fires and no retry comes due. Start a scheduler."
                        },
                        Wrong::NotRelayed { depth, since } => li {
                            strong { (parts::quantity(*depth, "job")) " in the outbox" }
                            ", the oldest for " (parts::span(now - *since)) ". Look at the scheduler's log and at Redis."
                        },
                        Wrong::NoWorker { queue, ready } => li {
                            strong { "No worker is on " (queue) "," }
                            " with " (parts::quantity(*ready, "job")) " ready. Start one."
                        },
                        Wrong::Deadlines { level, jobs } => li {
                            strong { (parts::quantity(*jobs, "job")) (danger(*level)) "." }
                            " " code { "amzigo deadlines" } " names them."
                        },
                        Wrong::Waiting { queue, since, partly_paused } => li {
                            strong { "A job on " (queue) " has been ready for " (parts::span(now - *since)) "." }
                            @if *partly_paused {
                                " Some of the queue is paused, which may be why; " code { "amzigo jobs explain ID" } " tells."
                            } @else {
                                " Its workers are busy or stuck; see what runs, and start more."
                            }
                        },
                        Wrong::Dead { letters } => li {
                            strong { a href="/jobs?state=dead" { (parts::quantity(*letters, "dead letter")) } }
                            " to decide about: requeue or discard."
                        },
                    }
                }
            }
        }
    }
}

/// What a job's level means, after its count.
const fn danger(level: Level) -> &'static str {
    match level {
        Level::Missed => " missed the deadline",
        Level::CannotFit => " can no longer meet the deadline",
        _ => " must start now to meet the deadline",
    }
}

/// Who said something, since when and why.
fn decided(control: &Control, overview: &Overview) -> Markup {
    html! {
        @if let Some(decided) = &control.decided {
            (parts::age(decided.since, overview.now))
            @if let Some(by) = &decided.by { " by " (by) }
            @if let Some(reason) = &decided.reason { ": " (reason) }
        } @else {
            "by its policy"
        }
    }
}

/// Most controls that are named one by one.
const MOST_NAMED: usize = 20;

/// Says how many controls of a list are not named.
fn more(all: usize) -> Markup {
    html! {
        @if all > MOST_NAMED {
            li { "… and " (all - MOST_NAMED) " more: " code { "amzigo controls" } }
        }
    }
}

fn paused(overview: &Overview) -> Markup {
    let paused: Vec<_> =
        overview.controls.iter().filter(|control| control.setting == Setting::Paused).collect();
    html! {
        @if !paused.is_empty() {
            ul.notice aria-label="What is paused" {
                @for control in paused.iter().take(MOST_NAMED) {
                    li { strong { "Paused: " (control.of()) "." } " " (decided(control, overview)) }
                }
                (more(paused.len()))
            }
        }
    }
}

fn limits(overview: &Overview) -> Markup {
    let in_force = |control: &&Control| control.in_force && control.setting != Setting::Paused;
    let limits: Vec<_> = overview.controls.iter().filter(in_force).collect();
    html! {
        @if !limits.is_empty() {
            section {
                h2 { "Limits and weights" }
                ul.plain {
                    @for control in limits.iter().take(MOST_NAMED) {
                        li { (control.of()) ": " (control.says()) ". " span.quiet { (decided(control, overview)) } }
                    }
                    (more(limits.len()))
                }
            }
        }
    }
}

fn batches(overview: &Overview) -> Markup {
    let line = |batch: &OpenBatch| {
        html! {
            tr {
                td.id { (batch.id) }
                td { (parts::age(batch.created_at, overview.now)) }
                td { @if batch.sealed_at.is_some() { "sealed" } @else { "jobs may still join" } }
                td {
                    @match batch.ended() {
                        Some((ended, total)) => (parts::bar(ended.unsigned_abs(), Some(total.unsigned_abs()))),
                        None => { "more than " (MOST_COUNTED) " jobs" },
                    }
                }
            }
        }
    };
    html! {
        @if !overview.batches.is_empty() {
            section {
                h2 { "Batches" }
                div.scroll tabindex="0" role="region" aria-label="Batches" {
                    table {
                        thead { tr { th { "batch" } th { "opened" } th { "state" } th { "ended" } } }
                        tbody { @for batch in &overview.batches { (line(batch)) } }
                    }
                }
            }
        }
    }
}

fn queues(overview: &Overview, history: &History) -> Markup {
    html! {
        section {
            h2 { "Queues" }
            div.scroll tabindex="0" role="region" aria-label="Queues" {
                table.queues {
                    thead { tr {
                        th scope="col" { "queue" }
                        th scope="col" { "ended" }
                        @for state in COUNTED { th.number { (state.name()) } }
                        th { "oldest ready" }
                        th.number title="Workers on the queue, as Redis knows them" { "workers" }
                        th.number title="Turns to come in Redis: groups with something ready, once for each kind and priority" { "turns" }
                        th.number title="Groups with something ready that may not run now: they are paused or at their limit" { "parked" }
                        th.number title="Entries in Redis that wait for their moment" { "delayed in Redis" }
                    } }
                    tbody {
                        @for counts in &overview.queues {
                            @let depth = overview.depths.as_ref().and_then(|all| {
                                all.iter().find(|(queue, _)| *queue == counts.queue).map(|(_, depth)| *depth)
                            });
                            tr {
                                th scope="row" { a href="/queues" { (counts.queue) } }
                                td { (history::spark(history, counts.queue)) }
                                @for state in COUNTED { (count(counts.of(state), counts.queue.name(), state)) }
                                td {
                                    @match counts.oldest_ready_since {
                                        Some(since) => (parts::age(since, overview.now)),
                                        None => span.none { "–" },
                                    }
                                }
                                @match depth {
                                    Some(depth) => {
                                        (quantity(depth.workers))
                                        (quantity(depth.turns))
                                        (quantity(depth.parked))
                                        (quantity(depth.delayed))
                                    },
                                    None => td.number colspan="4" { "Redis does not answer" },
                                }
                            }
                        }
                    }
                }
            }
            p.note {
                "Outbox: " (overview.outbox.depth)
                @if let Some(since) = overview.outbox.oldest_since { ", the oldest for " (parts::span(overview.now - since)) }
                "."
                @if !overview.deadlines.is_empty() {
                    " Deadlines: "
                    @for (n, (level, jobs)) in overview.deadlines.iter().enumerate() {
                        @if n > 0 { ", " }
                        (jobs) " " (level)
                    }
                    "."
                }
            }
        }
    }
}

fn quantity(count: u64) -> Markup {
    html! { td.number.none[count == 0] { (count) } }
}

fn count(count: i64, queue: &str, state: JobState) -> Markup {
    html! {
        @if count == 0 {
            td.number.none { "0" }
        } @else {
            td.number { a href={ "/jobs?" (query(&[("queue", queue), ("state", state.name())])) } data-state=(state.name()) { (count) } }
        }
    }
}

fn running(overview: &Overview) -> Markup {
    let line = |job: &RunningJob| {
        html! {
            tr {
                td { (parts::job_link(job.id)) }
                td { (job.kind) }
                td.for { (parts::group_link(&job.group)) }
                td { (parts::age(job.since, overview.now)) }
                td.number { (job.attempt) }
                td { (parts::worker(job.worker)) }
            }
        }
    };
    html! {
        section {
            h2 { "Running" }
            @if overview.running.is_empty() {
                p.empty { "Nothing runs. " code { "amzigo enqueue KIND --seller ID" } " gives the workers something to do." }
            } @else {
                div.scroll tabindex="0" role="region" aria-label="Running" {
                    table {
                        thead { tr {
                            th { "job" } th { "kind" } th.for { "for" } th { "since" } th.number { "attempt" } th { "worker" }
                        } }
                        tbody { @for job in &overview.running { (line(job)) } }
                    }
                }
            }
        }
    }
}

fn finished(overview: &Overview) -> Markup {
    let line = |job: &FinishedJob| {
        html! {
            tr {
                td { (parts::job_link(job.id)) }
                td { (job.kind) }
                td.for { (parts::group_link(&job.group)) }
                td { (parts::state(&job.state)) }
                td { (parts::age(job.finished_at, overview.now)) }
                td.number { @if let Some(began) = job.started_at { (parts::span(job.finished_at - began)) } }
            }
        }
    };
    html! {
        section {
            h2 { "Ended lately" }
            @if overview.finished.is_empty() {
                p.empty { "No job has ended yet." }
            } @else {
                div.scroll tabindex="0" role="region" aria-label="Ended lately" {
                    table {
                        thead { tr {
                            th { "job" } th { "kind" } th.for { "for" } th { "state" } th { "ended" } th.number { "took" }
                        } }
                        tbody { @for job in &overview.finished { (line(job)) } }
                    }
                }
            }
        }
    }
}

fn dead(overview: &Overview) -> Markup {
    let line = |letter: &DeadLetter| {
        html! {
            tr {
                td { (parts::job_link(letter.id)) }
                td { (letter.kind) }
                td.for { (parts::group_link(&letter.group)) }
                td { (parts::age(letter.finished_at, overview.now)) }
                td.number { (letter.attempts) }
                td.why { (letter.error) }
            }
        }
    };
    html! {
        section {
            h2 { "Dead letters" }
            @if overview.dead.is_empty() {
                p.empty { "None. A job that ends in failure waits here until somebody requeues or discards it." }
            } @else {
                div.scroll tabindex="0" role="region" aria-label="Dead letters" {
                    table.jobs {
                        thead { tr {
                            th { "job" } th { "kind" } th.for { "for" } th { "died" } th.number { "attempts" } th { "error" }
                        } }
                        tbody { @for letter in &overview.dead { (line(letter)) } }
                    }
                }
            }
        }
    }
}
