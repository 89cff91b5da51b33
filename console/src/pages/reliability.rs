//! `/reliability`: how fast crashed work came back, and what was delivered twice.

use axum::{extract::State, response::Html};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use crate::{
    auth::Person,
    console::Console,
    ops::reliability::{self, AWAY_BOUNDS, Reliability},
    pages::{
        layout::{self, Frame, Place},
        parts,
        problem::Problem,
    },
};

pub(super) async fn page(State(console): State<Console>, person: Person) -> Result<Html<String>, Problem> {
    let mut connection = console.pool.acquire().await?;
    let now = console.now();
    let week = reliability::read(&mut connection, now).await?;
    let content = html! {
        h1 { "Reliability" }
        p.hint { "The last 7 days: what happened to work whose worker was lost, and what ran twice because of it." }
        div.columns {
            (came_back(&week))
            (delivered_twice(&week))
        }
        (comebacks(&week, now))
        (lost_workers(&week, now))
        (overtaken(&week, now))
    };
    let frame =
        Frame { title: "Reliability", place: Place::Reliability, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content))
}

fn came_back(week: &Reliability) -> Markup {
    let at_most = |percent| week.away_at_most(percent).map_or_else(|| "–".to_owned(), parts::span);
    let most = week.away.iter().copied().max().unwrap_or(0).max(1);
    html! {
        section {
            h2 { "How fast crashed work came back" }
            @if week.lengths.is_empty() {
                p.empty { "No worker was lost while it ran something. Kill one (" code { "kill -9" } ") and look: its jobs run again within 15 seconds." }
            } @else {
                p { "From the lost worker's last sign of life to the job's next run: half within " strong { (at_most(50)) } ", 95 % within " strong { (at_most(95)) } ", all within " strong { (at_most(100)) } "." }
                table.histogram {
                    caption.hidden { "Jobs by how long they were away" }
                    thead { tr { th scope="col" { "away" } th.number scope="col" { "jobs" } th scope="col" { span.hidden { "share" } } } }
                    tbody {
                        @for (n, jobs) in week.away.iter().enumerate() {
                            tr {
                                th scope="row" { (bound(n)) }
                                td.number { (jobs) }
                                td.wide { svg.share viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
                                    rect.bars.running width=(jobs * 100 / most) height="10" {}
                                } }
                            }
                        }
                    }
                }
            }
            @if week.unknown > 0 {
                p.note { (parts::quantity(week.unknown, "job")) " came back from workers whose last sign of life nobody noted: no scheduler led when their leases ended." }
            }
        }
    }
}

/// Which bar this is.
fn bound(n: usize) -> String {
    match (n.checked_sub(1).and_then(|below| AWAY_BOUNDS.get(below)), AWAY_BOUNDS.get(n)) {
        (None, Some(to)) => format!("less than {to} s"),
        (Some(from), Some(to)) => format!("{from} to {to} s"),
        (Some(from), None) => format!("{from} s and more"),
        (None, None) => String::new(),
    }
}

fn delivered_twice(week: &Reliability) -> Markup {
    html! {
        section {
            h2 { "What was delivered twice" }
            dl.numbers-of {
                div { dt { "runs that ended" } dd { (week.runs) } }
                div { dt { "ran to the end, refused" } dd { (week.twice) } }
                div { dt { "stopped in the middle" } dd { (week.stopped) } }
                div { dt { "of a million" } dd {
                    @match week.twice_in_a_million() { Some(rate) => (format!("{rate:.1}")), None => span.none { "–" } }
                } }
            }
            p.note {
                "A worker that seems lost may still run its job when another one begins it. The ledger counts the result of one run: \
                 the other's is refused by its fencing token, or it is stopped when it learns that its lease was lost."
            }
        }
    }
}

fn comebacks(week: &Reliability, now: DateTime<Utc>) -> Markup {
    html! {
        @if !week.comebacks.is_empty() {
            section {
                h2 { "Work that came back last" }
                div.scroll tabindex="0" role="region" aria-label="Work that came back last" {
                    table {
                        thead { tr { th scope="col" { "job" } th scope="col" { "kind" } th scope="col" { "back" } th.number scope="col" { "away" } th scope="col" { "lost worker" } } }
                        tbody {
                            @for back in &week.comebacks {
                                tr {
                                    td { (parts::job_link(back.job)) } td { (back.kind) } td { (parts::age(back.back_at, now)) }
                                    td.number { @match back.away() { Some(away) => (parts::span(away)), None => span.none { "not known" } } }
                                    td { (parts::worker(back.worker)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn lost_workers(week: &Reliability, now: DateTime<Utc>) -> Markup {
    html! {
        section {
            h2 { "Workers that were lost" }
            @if week.lost_workers.is_empty() {
                p.empty { "None in the last 7 days. One that is stopped by SIGTERM says goodbye and is not lost." }
            } @else {
                div.scroll tabindex="0" role="region" aria-label="Workers that were lost" {
                    table {
                        thead { tr { th scope="col" { "worker" } th scope="col" { "queue" } th scope="col" { "where" } th scope="col" { "release" } th scope="col" { "last sign of life" } th scope="col" { "rescued" } th.number scope="col" { "jobs" } } }
                        tbody {
                            @for worker in &week.lost_workers {
                                tr {
                                    td { (parts::worker(worker.id)) } td { (worker.queue) }
                                    td { (worker.host.as_deref().unwrap_or("not known")) } td { (worker.version.as_deref().unwrap_or("–")) }
                                    td { (parts::age(worker.last_seen_at, now)) } td { (parts::age(worker.rescued_at, now)) } td.number { (worker.jobs) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn overtaken(week: &Reliability, now: DateTime<Utc>) -> Markup {
    html! {
        @if !week.overtaken.is_empty() {
            section {
                h2 { "Runs that were overtaken" }
                div.scroll tabindex="0" role="region" aria-label="Runs that were overtaken" {
                    table {
                        thead { tr { th scope="col" { "job" } th scope="col" { "kind" } th scope="col" { "ended" } th scope="col" { "how" } th scope="col" { "worker" } } }
                        tbody {
                            @for run in &week.overtaken {
                                tr {
                                    td { (parts::job_link(run.job)) } td { (run.kind) } td { (parts::age(run.at, now)) }
                                    td { @if run.finished { "ran to the end; refused" } @else { "stopped" } }
                                    td { (parts::worker(run.worker)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
