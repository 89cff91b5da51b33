//! `/jobs`: jobs by kind, state, queue and seller. The filters are in the address, so that a list can be sent to a colleague.

use ::jobs::catalog::CATALOG;
use axum::{
    extract::{Query, State},
    response::Html,
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use queue::{Queue, State as JobState};
use serde::Deserialize;

use crate::{
    auth::Person,
    console::Console,
    ops::jobs::{self, Filter, JobLine, Page},
    pages::{
        layout::{self, Frame, Place},
        parts,
        problem::Problem,
    },
};

/// The filters as the address has them; an empty one lets all through.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filters {
    kind: String,
    state: String,
    queue: String,
    seller: String,
    before: String,
}

const PAGE: u16 = 50;

impl Filters {
    fn understood(&self) -> Result<Filter, String> {
        Ok(Filter {
            kind: some(&self.kind).map(str::to_owned),
            state: some(&self.state).map(str::parse).transpose()?,
            queue: some(&self.queue).map(str::parse).transpose()?,
            group: some(&self.seller).map(str::to_owned),
            before: some(&self.before).map(str::parse).transpose()?,
        })
    }

    /// The address of the same list from `before` on.
    fn address(&self, before: &str) -> String {
        let filters = parts::query(&[
            ("kind", &self.kind),
            ("state", &self.state),
            ("queue", &self.queue),
            ("seller", &self.seller),
            ("before", before),
        ]);
        format!("/jobs?{filters}")
    }
}

fn some(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

pub(super) async fn page(
    State(console): State<Console>,
    person: Person,
    Query(filters): Query<Filters>,
) -> Result<Html<String>, Problem> {
    let filter = filters.understood().map_err(Problem::Address)?;
    let mut connection = console.pool.acquire().await?;
    let found = jobs::list(&mut connection, &filter, PAGE).await?;
    let now = console.engine.clock().now();
    let place = if filter.state == Some(JobState::Dead) { Place::Dead } else { Place::Jobs };
    let title = if place == Place::Dead { "Dead letters" } else { "Jobs" };
    let content = html! {
        h1 { (title) }
        (form(&filters))
        (results(&filters, &found, now))
    };
    let frame = Frame { title, place, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content))
}

fn form(filters: &Filters) -> Markup {
    let choice = |name: &str, chosen: &str, all: Vec<&'static str>| {
        html! {
            label { (name)
                select name=(name) {
                    option value="" { "any" }
                    @for one in all { option value=(one) selected[one == chosen] { (one) } }
                }
            }
        }
    };
    html! {
        form.filters action="/jobs" method="get" {
            (choice("state", &filters.state, JobState::ALL.iter().map(|state| state.name()).collect()))
            (choice("kind", &filters.kind, CATALOG.iter().map(|kind| kind.name).collect()))
            (choice("queue", &filters.queue, Queue::ALL.iter().map(|queue| queue.name()).collect()))
            label { "seller" input name="seller" value=(filters.seller) placeholder="id" autocomplete="off" spellcheck="false"; }
            button { "Show" }
        }
    }
}

fn results(filters: &Filters, found: &Page, now: DateTime<Utc>) -> Markup {
    html! {
        @if found.jobs.is_empty() {
            (nothing(filters))
        } @else {
            div.scroll {
                table.jobs {
                    thead { tr {
                        th { "job" } th { "kind" } th { "state" } th.for { "for" } th.number { "attempts" }
                        th { "enqueued" } th { "why" }
                    } }
                    tbody { @for job in &found.jobs { (line(job, now)) } }
                }
            }
            @if let Some(next) = found.next {
                p { a href=(filters.address(&next.to_string())) rel="next" { "Older" } }
            }
        }
    }
}

fn line(job: &JobLine, now: DateTime<Utc>) -> Markup {
    html! {
        tr {
            td { (parts::job_link(job.id)) }
            td { (job.kind) }
            td { (parts::state(&job.state)) }
            td.for { (parts::group_link(&job.group)) }
            td.number { (job.attempts) }
            td { (parts::age(job.created_at, now)) }
            td.why { (job.waits_for.as_deref().or(job.last_error.as_deref()).unwrap_or_default()) }
        }
    }
}

/// A list that is empty says what that means, and what to do.
fn nothing(filters: &Filters) -> Markup {
    let all_but_state = [&filters.kind, &filters.queue, &filters.seller, &filters.before];
    let only_dead =
        filters.state == JobState::Dead.name() && all_but_state.iter().all(|text| text.is_empty());
    let unfiltered = filters.state.is_empty() && all_but_state.iter().all(|text| text.is_empty());
    html! {
        p.empty {
            @if only_dead {
                "No dead letters: every job that ended, ended well."
            } @else if unfiltered {
                "No job was ever enqueued. " code { "amzigo enqueue --help" } " shows how; schedules fire by themselves once a seller is connected."
            } @else {
                "No such jobs. " a href="/jobs" { "Show all" } "."
            }
        }
    }
}
