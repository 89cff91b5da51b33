//! `/schedules`: when kinds fire by themselves; running one now, pausing and resuming it.

use axum::{
    extract::{Path, State},
    response::{Html, Response},
};
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use queue::{JobId, outbox::Cause};
use serde::Deserialize;

use crate::{
    auth::{Permission, Person},
    console::Console,
    ops::schedules::{self, ScheduleError, ScheduleLine, on_its_clock},
    pages::{
        acting::{self, Acting, Nothing},
        layout::{self, Frame, Place},
        parts,
        problem::Problem,
    },
};

pub(super) async fn page(State(console): State<Console>, person: Person) -> Result<Html<String>, Problem> {
    let now = console.now();
    let lines = schedules::list(&mut *console.pool.acquire().await?, now).await.map_err(problem)?;
    let content = html! {
        h1 { "Schedules" }
        @if lines.is_empty() { p.empty { "No kind has a schedule." } }
        @for line in &lines { (schedule(line, &person, now)) }
    };
    let frame = Frame { title: "Schedules", place: Place::Schedules, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content))
}

fn problem(error: ScheduleError) -> Problem {
    match error {
        ScheduleError::None(_) => Problem::NotFound(error.to_string()),
        ScheduleError::Database(error) => Problem::Database(error),
        ScheduleError::Wrong { .. } | ScheduleError::Enqueue(_) => Problem::Conflict(error.to_string()),
    }
}

fn schedule(line: &ScheduleLine, person: &Person, now: DateTime<Utc>) -> Markup {
    let spread = i64::try_from(line.spread_seconds).unwrap_or(0);
    html! {
        section #(line.kind) {
            h2 { (line.kind) }
            p { (line.summary) }
            @if let Some(paused) = &line.paused {
                p.notice {
                    strong { "Paused" } " " (parts::moment(paused.since))
                    @if let Some(by) = &paused.by { " by " (by) }
                    @if let Some(reason) = &paused.reason { ": " (reason) }
                }
            }
            dl {
                dt { "Fires" } dd {
                    (line.in_words) ", " (line.time_zone) " "
                    @if line.in_words != line.expression { code { (line.expression) } }
                    @if spread > 0 { ", its jobs spread over " (parts::span(TimeDelta::seconds(spread))) }
                }
                dt { "Next ticks" } dd {
                    @if line.next.is_empty() { "none while it is paused" }
                    ol.plain { @for at in &line.next { li {
                        (parts::moment(*at))
                        @if line.time_zone != "UTC" { " · " (on_its_clock(*at, line.time_zone)) }
                    } } }
                }
                dt { "Last tick" } dd {
                    @match line.last_fire_at {
                        Some(at) => {
                            (parts::age(at, now))
                            @if let Some(made) = line.last_made { ": " (parts::quantity(i64::from(made), "job")) " enqueued" }
                            " · " a href={ "/jobs?" (parts::query(&[("kind", line.kind), ("cause", "schedule")])) } { "its jobs" }
                        },
                        None => "none yet",
                    }
                }
                dt { "Missed ticks" } dd { @if line.catches_up { "one makes up for all of them" } @else { "are let go" } }
            }
            @if person.may(Permission::Operate) { (buttons(line, person)) }
        }
    }
}

fn buttons(line: &ScheduleLine, person: &Person) -> Markup {
    let to = |act: &str| format!("/schedules/{}/{act}", line.kind);
    // New each time the page is shown: a form that is sent twice enqueues once.
    let once = html! { input type="hidden" name="once" value=(JobId::new()); };
    html! {
        div.acts {
            (acting::act(person, &to("run"), "Run now", false, &once))
            @if line.paused.is_some() {
                (acting::act(person, &to("resume"), "Resume", false, &html! {}))
            } @else {
                (acting::act(person, &to("pause"), "Pause", false, &html! {}))
            }
        }
    }
}

/// A form that says by a word which run is meant.
#[derive(Debug, Deserialize)]
pub(super) struct Once {
    once: JobId,
}

pub(super) async fn run(
    State(console): State<Console>,
    Path(kind): Path<String>,
    Acting { act, form: Once { once } }: Acting<Once>,
) -> Result<Response, Problem> {
    let mut connection = console.pool.acquire().await?;
    let once = once.to_string();
    let ran = schedules::run_now(&mut connection, &kind, &once, Cause::Console, &act, console.now())
        .await
        .map_err(problem)?;
    let notice = format!("{} jobs of {kind} enqueued; {} were there already.", ran.new, ran.there);
    Ok(acting::done("/schedules", &notice))
}

pub(super) async fn pause(
    State(console): State<Console>,
    Path(kind): Path<String>,
    Acting { act, form: Nothing {} }: Acting<Nothing>,
) -> Result<Response, Problem> {
    let mut connection = console.pool.acquire().await?;
    let changed =
        schedules::set_paused(&mut connection, &kind, true, &act, console.now()).await.map_err(problem)?;
    let notice =
        if changed { "Paused: it fires no more until it is resumed." } else { "It is paused already." };
    Ok(acting::done("/schedules", notice))
}

pub(super) async fn resume(
    State(console): State<Console>,
    Path(kind): Path<String>,
    Acting { act, form: Nothing {} }: Acting<Nothing>,
) -> Result<Response, Problem> {
    let mut connection = console.pool.acquire().await?;
    let changed =
        schedules::set_paused(&mut connection, &kind, false, &act, console.now()).await.map_err(problem)?;
    let notice = if changed { "It fires again." } else { "It is not paused." };
    Ok(acting::done("/schedules", notice))
}
