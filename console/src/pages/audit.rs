//! `/audit`: what people did, and whether the log is as it was written. The filters are in the address.

use axum::{
    extract::{Query, State},
    response::Html,
};
use chrono::{DateTime, NaiveDate, Utc};
use maud::{Markup, html};
use serde::Deserialize;

use crate::{
    auth::Person,
    console::Console,
    ops::{
        audit::{self, Filter, Listed},
        audit_chain::Head,
    },
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
    actor: String,
    action: String,
    target: String,
    since: String,
    before: String,
}

const PAGE: u16 = 50;

impl Filters {
    fn understood(&self) -> Result<Filter, Problem> {
        Ok(Filter {
            actor: some(&self.actor).map(str::to_owned),
            action: some(&self.action).map(str::to_owned),
            target: some(&self.target).map(str::to_owned),
            since: some(&self.since).map(moment).transpose()?,
            before: some(&self.before)
                .map(|id| id.parse().map_err(|_| Problem::Address(format!("`{id}` is not an act's number."))))
                .transpose()?,
        })
    }

    /// The address of the same list from `before` on.
    fn address(&self, before: &str) -> String {
        let filters = parts::query(&[
            ("actor", &self.actor),
            ("action", &self.action),
            ("target", &self.target),
            ("since", &self.since),
            ("before", before),
        ]);
        format!("/audit?{filters}")
    }

    const fn is_empty(&self) -> bool {
        self.actor.is_empty()
            && self.action.is_empty()
            && self.target.is_empty()
            && self.since.is_empty()
            && self.before.is_empty()
    }
}

fn some(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

/// A day in UTC, or a moment.
fn moment(text: &str) -> Result<DateTime<Utc>, Problem> {
    let day = || {
        text.parse::<NaiveDate>()
            .ok()
            .and_then(|day| day.and_hms_opt(0, 0, 0))
            .map(|midnight| midnight.and_utc())
    };
    text.parse().ok().or_else(day).ok_or_else(|| {
        Problem::Address(format!(
            "`{text}` is neither a day, as 2026-11-23, nor a moment, as 2026-11-23T10:00:00Z."
        ))
    })
}

pub(super) async fn page(
    State(console): State<Console>,
    person: Person,
    Query(filters): Query<Filters>,
) -> Result<Html<String>, Problem> {
    let filter = filters.understood()?;
    let mut connection = console.pool.acquire().await?;
    let acts = audit::list(&mut connection, &filter, PAGE).await?;
    let head = audit::head(&mut connection).await?;
    let content = html! {
        h1 { "Audit log" }
        (chain(&acts, head))
        (form(&filters))
        (results(&filters, &acts))
    };
    let now = console.now();
    let frame = Frame { title: "Audit log", place: Place::Audit, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content))
}

/// Whether what is shown is as it was written, and what the whole is checked with.
fn chain(acts: &[Listed], head: Option<Head>) -> Markup {
    let changed: Vec<_> = acts.iter().filter(|act| !act.intact).collect();
    html! {
        @if !changed.is_empty() {
            ul.wrong {
                @for act in changed {
                    li { strong { "Entry " (act.entry.position) " was changed" } " after it was written. Keep the database as it is, and "
                        code { "amzigo audit verify" } " says what else is wrong." }
                }
            }
        } @else if let Some(head) = head {
            p.well {
                "What is shown is as it was written. " code { "amzigo audit verify" } " checks all " (head.position)
                " entries; keep this head elsewhere, and it also shows that none was cut off: "
                code { (head.hash) }
            }
        }
    }
}

fn form(filters: &Filters) -> Markup {
    let field = |name: &str, label: &str, value: &str, placeholder: &str| {
        html! {
            label { (label)
                input name=(name) value=(value) placeholder=(placeholder) autocomplete="off" spellcheck="false";
            }
        }
    };
    html! {
        form.filters action="/audit" method="get" {
            (field("actor", "who", &filters.actor, "name"))
            (field("action", "what", &filters.action, "dead, or dead.requeue"))
            (field("target", "on what", &filters.target, "id or name"))
            (field("since", "since (UTC)", &filters.since, "2026-11-23"))
            button { "Show" }
        }
    }
}

fn results(filters: &Filters, acts: &[Listed]) -> Markup {
    html! {
        @if acts.is_empty() {
            p.empty {
                @if filters.is_empty() {
                    "Nobody has done anything yet. Whatever somebody changes here, or with " code { "amzigo" } ", is listed with their reason."
                } @else {
                    "No such acts. " a href="/audit" { "Show all" } "."
                }
            }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Acts" {
                table {
                    thead { tr {
                        th scope="col" { "when" } th scope="col" { "who" } th scope="col" { "via" } th scope="col" { "what" }
                        th scope="col" { "target" } th scope="col" { "reason" } th.number scope="col" { "entry" }
                    } }
                    tbody { @for act in acts { (line(act)) } }
                }
            }
            @if acts.len() == usize::from(PAGE) && let Some(last) = acts.last() {
                p { a href=(filters.address(&last.entry.id.to_string())) rel="next" { "Older" } }
            }
        }
    }
}

fn line(act: &Listed) -> Markup {
    let entry = &act.entry;
    html! {
        tr {
            td { (parts::moment(entry.at)) }
            td { a href={ "/audit?" (parts::query(&[("actor", &entry.actor)])) } { (entry.actor) } }
            td { (entry.via.as_deref().unwrap_or("not recorded")) }
            td { (entry.action) }
            td.target {
                @match (act.job, &act.person) {
                    (Some(job), _) => { (parts::job_link(job)) (more(&entry.target)) },
                    (None, Some(person)) => { (person) (more(&entry.target)) },
                    (None, None) => (entry.target),
                }
            }
            td.why { (entry.reason) }
            td.number title=(entry.hash) { (entry.position) @if !act.intact { " changed" } }
        }
    }
}

/// What a target says behind the id that it begins with.
fn more(target: &str) -> &str {
    target.find(':').map_or("", |colon| &target[colon..])
}
