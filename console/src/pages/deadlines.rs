//! `/deadlines`: which jobs must be done by a moment, how much time is left, and what was said about it.

use axum::{extract::State, response::Html};
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use queue::{deadline::Level, escalations::Watched};

use crate::{
    auth::Person,
    console::Console,
    ops::deadlines,
    pages::{
        layout::{self, Frame, Place},
        parts,
        problem::Problem,
    },
};

/// Jobs beyond these are not shown.
const MOST: u16 = 200;

pub(super) async fn page(State(console): State<Console>, person: Person) -> Result<Html<String>, Problem> {
    let now = console.now();
    let found = deadlines::list(&mut *console.pool.acquire().await?, MOST, now).await?;
    let content = html! {
        h1 { "Deadlines" }
        @if found.is_empty() {
            p.well { "Nothing is due: no unfinished job has a legal or promised deadline." }
        } @else {
            p { "Jobs that must be done by a moment that the law or somebody of us promised, the most urgent first." }
            (table(&found, now))
            @if found.len() == usize::from(MOST) { p.note { "These are the " (MOST) " most urgent ones." } }
        }
    };
    let frame = Frame { title: "Deadlines", place: Place::Deadlines, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content))
}

fn table(found: &[Watched], now: DateTime<Utc>) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Deadlines" {
            table {
                thead { tr {
                    th scope="col" { "time left" }
                    th scope="col" { "how it stands" }
                    th scope="col" { "job" }
                    th scope="col" { "kind" }
                    th scope="col" { "state" }
                    th scope="col" { "for" }
                    th scope="col" { "latest safe start" }
                    th scope="col" { "deadline" }
                } }
                tbody { @for job in found { (line(job, now)) } }
            }
        }
        p.note { "Each job's page tells when it reached which level." }
    }
}

fn line(job: &Watched, now: DateTime<Utc>) -> Markup {
    let left = TimeDelta::seconds(job.seconds_left);
    html! {
        tr {
            td { @if left < TimeDelta::zero() { strong data-state="dead" { (parts::span(-left)) " late" } } @else { (parts::span(left)) } }
            td.why {
                strong data-state=[alarm(job.level)] { (in_words(job.level)) }
                div { (job.why) }
                @if job.looked_at.is_none() { div { "No scheduler has looked at it yet." } }
            }
            td { (parts::job_link(job.id)) }
            td { (job.kind) }
            td { (parts::state(&job.state)) }
            td { (parts::group_link(&job.group)) }
            td { (parts::age(job.latest_safe_start, now)) }
            td { (parts::moment(job.deadline_at)) }
        }
    }
}

/// What a level means, for who does not know the word.
pub(super) const fn in_words(level: Level) -> &'static str {
    match level {
        Level::Fits => "There is time.",
        Level::Half => "Half of the time to begin safely has passed.",
        Level::ThreeQuarters => "Three quarters of the time to begin safely have passed.",
        Level::NineTenths => "It must begin soon, and goes before others.",
        Level::MustStartNow => "It must start now.",
        Level::CannotFit => "It can no longer be done in time as usual: act.",
        Level::Missed => "The deadline has passed.",
    }
}

const fn alarm(level: Level) -> Option<&'static str> {
    match level {
        Level::MustStartNow | Level::CannotFit | Level::Missed => Some("dead"),
        Level::NineTenths => Some("delayed"),
        Level::Fits | Level::Half | Level::ThreeQuarters => None,
    }
}
