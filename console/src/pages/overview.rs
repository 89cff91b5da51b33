//! `/`: what is wrong first, then queues and states, what runs, what ended, what died.

use axum::{extract::State, response::Html};
use maud::{Markup, html};
use queue::{State as JobState, dead::DeadLetter};

use crate::{
    ops::{
        counts::COUNTED,
        overview::{self, FinishedJob, Overview, Problem as Wrong, RunningJob},
    },
    pages::{
        Console,
        layout::{self, Place},
        parts::{self, query},
        problem::Problem,
    },
};

pub(super) async fn page(State(console): State<Console>) -> Result<Html<String>, Problem> {
    let mut connection = console.pool.acquire().await?;
    let overview = overview::read(&mut connection, &console.engine, console.engine.clock().now()).await?;
    Ok(layout::page("Overview", Place::Overview, Some(overview.now), &content(&overview)))
}

fn content(overview: &Overview) -> Markup {
    html! {
        h1.hidden { "Overview" }
        (wrong(overview))
        (queues(overview))
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
                        Wrong::Waiting { queue, since } => li {
                            strong { "A job on " (queue) " has been ready for " (parts::span(now - *since)) "." }
                            " Its workers are busy or stuck; see what runs, and start more."
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

fn queues(overview: &Overview) -> Markup {
    html! {
        section {
            h2 { "Queues" }
            div.scroll {
                table.queues {
                    thead { tr {
                        th { "queue" }
                        @for state in COUNTED { th.number { (state.name()) } }
                        th { "oldest ready" }
                        th.number title="Workers on the queue, as Redis knows them" { "workers" }
                        th.number title="Turns to come in Redis: groups with something ready, once for each kind and priority" { "turns" }
                        th.number title="Entries in Redis that wait for their moment" { "delayed in Redis" }
                    } }
                    tbody {
                        @for counts in &overview.queues {
                            @let depth = overview.depths.as_ref().and_then(|all| {
                                all.iter().find(|(queue, _)| *queue == counts.queue).map(|(_, depth)| *depth)
                            });
                            tr {
                                th scope="row" { (counts.queue) }
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
                                        (quantity(depth.delayed))
                                    },
                                    None => td.number colspan="3" { "Redis does not answer" },
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
                div.scroll {
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
                div.scroll {
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
                div.scroll {
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
