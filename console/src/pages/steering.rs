//! Pausing, resuming and limiting a queue or a kind: the buttons, and what they do.

use std::time::Duration;

use axum::{
    extract::{Path, State},
    response::Response,
};
use jobs::catalog::CATALOG;
use maud::{Markup, html};
use queue::{Queue, controls::Scope};
use serde::Deserialize;

use crate::{
    auth::{Permission, Person},
    console::Console,
    ops::{
        Act,
        controls::{self, Change, ChangeError, Control, Setting},
    },
    pages::{
        acting::{self, Acting},
        problem::Problem,
    },
};

/// The fields of each of the forms.
#[derive(Debug, Deserialize)]
pub(super) struct Fields {
    /// Of a limit: how many; empty for none.
    #[serde(default)]
    most: String,
}

/// `POST /queues/{queue}/{change}`.
pub(super) async fn queue(
    State(console): State<Console>,
    Path((queue, change)): Path<(String, String)>,
    Acting { act, form }: Acting<Fields>,
) -> Result<Response, Problem> {
    let queue: Queue = queue.parse().map_err(|error| Problem::NotFound(format!("{error}")))?;
    steer(&console, "/queues", queue, &Scope::Queue, wanted(&change, &form)?, &act).await
}

/// `POST /kinds/{kind}/{change}`.
pub(super) async fn kind(
    State(console): State<Console>,
    Path((kind, change)): Path<(String, String)>,
    Acting { act, form }: Acting<Fields>,
) -> Result<Response, Problem> {
    let Some(known) = CATALOG.get(&kind) else {
        return Err(Problem::NotFound(CATALOG.unknown(&kind).to_string()));
    };
    let queue = known.policy.queue;
    steer(&console, "/kinds", queue, &Scope::Kind(kind), wanted(&change, &form)?, &act).await
}

fn wanted(change: &str, form: &Fields) -> Result<Change, Problem> {
    match (change, form.most.trim()) {
        ("pause", _) => Ok(Change::Pause),
        ("resume", _) => Ok(Change::Resume),
        ("limit", "") => Ok(Change::Limit(None)),
        ("limit", most) => match most.parse::<u32>() {
            Ok(most) if most > 0 && i32::try_from(most).is_ok() => Ok(Change::Limit(Some(most))),
            _ => Err(Problem::Address(
                "A limit is a whole number from 1 on, or nothing for none; nothing at all is a pause."
                    .to_owned(),
            )),
        },
        _ => Err(Problem::no_page()),
    }
}

/// Longest wait until Redis has heard of a change; the scheduler tells it later where it has not.
const PATIENCE: Duration = Duration::from_secs(3);

async fn steer(
    console: &Console,
    page: &str,
    queue: Queue,
    scope: &Scope,
    change: Change,
    act: &Act,
) -> Result<Response, Problem> {
    let mut connection = console.pool.acquire().await?;
    let changed = controls::change(&mut connection, queue, scope, change, act, console.now()).await;
    let changed = changed.map_err(|error| match error {
        ChangeError::Database(error) => Problem::Database(error),
        refused => Problem::Conflict(refused.to_string()),
    })?;
    let of = controls::described(queue, scope);
    let what = match change {
        Change::Pause => format!("{of} is paused: nothing more of it starts, and what runs goes on"),
        Change::Resume => format!("{of} goes on"),
        Change::Limit(Some(most)) => format!("{of}: at most {most} at once"),
        Change::Limit(None) => format!("{of} has no limit of ours any more"),
    };
    if !changed {
        return Ok(acting::done(page, &format!("Nothing to change: {what}.")));
    }
    let told = tokio::time::timeout(PATIENCE, controls::tell(&mut connection, &console.engine, queue)).await;
    let heard = match told {
        Ok(Ok(())) => "",
        Ok(Err(error)) => {
            tracing::warn!(error = queue::failure::chain(&error), "Redis was not told of a change");
            LATER
        }
        Err(_) => LATER,
    };
    Ok(acting::done(page, &format!("Done: {what}.{heard}")))
}

const LATER: &str = " Redis does not answer; the scheduler tells it within a second of its return.";

/// The buttons for a queue or a kind at `path`, about which `said` holds; nothing for whoever may only look.
pub(super) fn buttons(person: &Person, path: &str, said: &[&Control], limit_of: &str) -> Markup {
    let paused = said.iter().any(|control| control.setting == Setting::Paused);
    let limit = said.iter().find_map(|control| match control.setting {
        Setting::Limit { most, .. } if control.decided.is_some() => Some(most),
        _ => None,
    });
    let most = html! {
        label { "Most at once" (limit_of) ", or nothing for no limit"
            input name="most" inputmode="numeric" pattern="[0-9]*" value=[limit] autocomplete="off";
        }
    };
    let action = |change: &str| format!("{path}/{change}");
    html! {
        @if person.may(Permission::Operate) {
            div.acts {
                @if paused {
                    (acting::act(person, &action("resume"), "Resume", false, &html! {}))
                } @else {
                    (acting::act(person, &action("pause"), "Pause", true, &html! {}))
                }
                (acting::act(person, &action("limit"), "Limit", false, &most))
            }
        }
    }
}

/// What is said, in words.
pub(super) fn said(said: &[&Control], now: chrono::DateTime<chrono::Utc>) -> Markup {
    html! {
        @if !said.is_empty() {
            ul.plain.said {
                @for control in said.iter().filter(|control| control.in_force) {
                    li {
                        @if control.setting == Setting::Paused { strong.paused { "paused" } } @else { (control.says()) }
                        @if let Some(decided) = &control.decided {
                            " " span.quiet {
                                (super::parts::age(decided.since, now))
                                @if let Some(by) = &decided.by { " by " (by) }
                                @if let Some(reason) = &decided.reason { ": " (reason) }
                            }
                        }
                    }
                }
            }
        }
    }
}
