//! `/kinds`: what sorts of work there are, what each asks for, and how it does.

use std::time::Duration;

use axum::{extract::State, response::Html};
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use queue::{Policy, Schedule};

use crate::{
    auth::Person,
    console::Console,
    ops::kinds::{self, KindStatus},
    pages::{
        chart::seconds,
        layout::{self, Frame, Place},
        parts::{self, query},
        problem::Problem,
        steering,
    },
};

pub(super) async fn page(State(console): State<Console>, person: Person) -> Result<Html<String>, Problem> {
    let mut connection = console.pool.acquire().await?;
    let now = console.now();
    let kinds = kinds::list(&mut connection, now).await?;
    let content = html! {
        h1 { "Kinds" }
        p.hint { "Every sort of work, with what it asks of the engine, and the last 24 hours." }
        div.scroll tabindex="0" role="region" aria-label="Kinds" {
            table.cards {
                thead { tr {
                    th scope="col" { "kind" }
                    th scope="col" { "queue" }
                    th.number scope="col" { "waiting" }
                    th.number scope="col" { "running" }
                    th.number scope="col" { "done" }
                    th.number scope="col" { "failed runs" }
                    th.number scope="col" { "dead" }
                    th.number scope="col" { "p50" }
                    th.number scope="col" { "p95" }
                    th scope="col" { "asks for" }
                    th scope="col" { "said of it" }
                } }
                tbody { @for kind in &kinds { (row(kind, &person, now)) } }
            }
        }
    };
    let frame = Frame { title: "Kinds", place: Place::Kinds, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content))
}

fn row(kind: &KindStatus, person: &Person, now: DateTime<Utc>) -> Markup {
    let said: Vec<_> = kind.controls.iter().collect();
    let number = |label: &str, count: i64, state: Option<&str>| {
        html! {
            td.number data-label=(label) {
                @match (count, state) {
                    (0, _) => span.none { "0" },
                    (_, Some(state)) => a data-state=(state) href={ "/jobs?" (query(&[("kind", kind.name), ("state", state)])) } { (count) },
                    _ => (count),
                }
            }
        }
    };
    let took = |label: &str, took: Option<Duration>| {
        html! {
            td.number data-label=(label) {
                @match took { Some(took) => (seconds(took.as_secs_f64())), None => span.none { "–" } }
            }
        }
    };
    html! {
        tr id={ "kind-" (kind.name) } {
            th.what scope="row" {
                a href={ "/jobs?" (query(&[("kind", kind.name)])) } { (kind.name) }
                p.quiet { (kind.summary) }
            }
            td data-label="queue" { (kind.policy.queue) }
            (number("waiting", kind.waiting, None))
            (number("running", kind.running, Some("running")))
            (number("done", kind.day.done, None))
            (number("failed runs", kind.day.failed + kind.day.crashed, None))
            (number("dead", kind.dead, Some("dead")))
            (took("p50", kind.took(0.5)))
            (took("p95", kind.took(0.95)))
            td.policy data-label="asks for" { (policy(&kind.policy)) @if let Some(schedule) = &kind.schedule { (fires(schedule)) } }
            td.said-of data-label="said of it" {
                (steering::said(&said, now))
                (steering::buttons(person, &format!("/kinds/{}", kind.name), &said, ""))
            }
        }
    }
}

fn policy(policy: &Policy) -> Markup {
    let length = |of: Duration| parts::span(TimeDelta::from_std(of).unwrap_or(TimeDelta::MAX));
    html! {
        ul.plain.quiet {
            li { (policy.max_attempts) " attempts, each " (length(policy.timeout)) " at most" }
            @if let Some(unique) = policy.unique { li { "one at a time: " (unique) } }
            @if let Some(expires) = policy.expires_after { li { "not begun after " (length(expires)) ": cancelled" } }
        }
    }
}

fn fires(schedule: &Schedule) -> Markup {
    html! {
        div.quiet {
            "fires " code { (schedule.expression) } " " (schedule.time_zone)
            @if !schedule.spread.is_zero() {
                ", spread over " (parts::span(TimeDelta::from_std(schedule.spread).unwrap_or(TimeDelta::MAX)))
            }
        }
    }
}
