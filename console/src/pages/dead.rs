//! `/dead`: dead letters by what they have in common, so that one decision is taken once.

use axum::{extract::State, response::Html};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use crate::{
    auth::{Permission, Person},
    console::Console,
    ops::dead::{self, DeadGroup},
    pages::{
        layout::{self, Frame, Place},
        parts::{self, query},
        problem::Problem,
    },
};

/// Groups beyond these are not shown.
const MOST: i64 = 100;

pub(super) async fn page(State(console): State<Console>, person: Person) -> Result<Html<String>, Problem> {
    let now = console.now();
    let groups = dead::groups(&mut *console.pool.acquire().await?, MOST, now).await?;
    let content = html! {
        h1 { "Dead letters" }
        @if groups.is_empty() {
            p.well { "No dead letters: every job that ended, ended well, or somebody has decided about it." }
        } @else {
            p { "Jobs that ended in failure and wait for a decision, together by kind and error. "
                a href="/jobs?state=dead" { "One by one" } }
            (table(&groups, person.may(Permission::Operate), now))
            @if i64::try_from(groups.len()).is_ok_and(|groups| groups == MOST) {
                p.note { "These are the " (MOST) " largest groups." }
            }
        }
    };
    let frame = Frame { title: "Dead letters", place: Place::Dead, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content))
}

fn table(groups: &[DeadGroup], operates: bool, now: DateTime<Utc>) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Groups of dead letters" {
            table {
                thead { tr {
                    th.number scope="col" { "letters" }
                    th scope="col" { "kind" }
                    th scope="col" { "error" }
                    th.number scope="col" { "last hour" }
                    th.number scope="col" { "sellers" }
                    th scope="col" { "first died" }
                    th scope="col" { "last died" }
                    @if operates { th scope="col" { "decide" } }
                } }
                tbody { @for group in groups { (line(group, operates, now)) } }
            }
        }
    }
}

fn line(group: &DeadGroup, operates: bool, now: DateTime<Utc>) -> Markup {
    let list = query(&[("state", "dead"), ("pattern", &group.key)]);
    let plan =
        |change| format!("/bulk/new?{}", query(&[("change", change), ("pattern", group.key.as_str())]));
    html! {
        tr {
            td.number { a data-state="dead" href={ "/jobs?" (list) } { (group.letters) } }
            td { (group.kind) }
            td.why { (group.pattern) div { "the last: " (parts::job_link(group.example)) } }
            td.number { (group.last_hour) }
            td.number { (group.groups) }
            td { (parts::age(group.first_at, now)) }
            td { (parts::age(group.last_at, now)) }
            @if operates {
                td { a href=(plan("requeue")) { "Requeue all …" } " " a href=(plan("discard")) { "Discard all …" } }
            }
        }
    }
}
