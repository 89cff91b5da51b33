//! `/bulk`: what is done to many jobs at once: a dry run, the start with a second look, progress, and a stop.

use axum::{
    extract::{Path, Query, State},
    response::{Html, Response},
};
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use queue::{
    Queue,
    bulk::{self as operations, BulkError, BulkId, Change, Filter, Operation, Stage},
};
use serde::Deserialize;

use crate::{
    auth::{Permission, Person},
    console::Console,
    ops::{
        bulk::{self, Plan, StartError},
        search,
    },
    pages::{
        acting::{self, Acting},
        layout::{self, Frame, Place},
        parts,
        problem::Problem,
    },
};

/// What an operation would be, as an address or a form has it; what is empty lets all through.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    change: String,
    kind: String,
    queue: String,
    seller: String,
    error: String,
    pattern: String,
    since: String,
    until: String,
    count: String,
}

impl Wanted {
    fn read(&self, now: DateTime<Utc>) -> Result<(Change, Filter), Problem> {
        let some = |text: &str| Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned);
        let moment = |text: &str| some(text).map(|text| search::moment(&text, now)).transpose();
        let read = || {
            Ok((
                self.change.parse()?,
                Filter {
                    kind: some(&self.kind),
                    queue: some(&self.queue).map(|name| name.parse::<Queue>()).transpose()?,
                    group: some(&self.seller),
                    error_contains: some(&self.error),
                    pattern: some(&self.pattern),
                    since: moment(&self.since)?,
                    until: moment(&self.until)?,
                },
            ))
        };
        read().map_err(Problem::Address)
    }
}

const MOST: i64 = 100;

/// The operations there were, those that have not ended first.
pub(super) async fn list(State(console): State<Console>, person: Person) -> Result<Html<String>, Problem> {
    let now = console.now();
    let found = operations::list(&mut *console.pool.acquire().await?, MOST).await.map_err(problem)?;
    let content = html! {
        h1 { "Bulk operations" }
        @if found.is_empty() {
            p.empty {
                "None was ever started. Choose jobs on " a href="/dead" { "dead letters" } " or " a href="/jobs" { "jobs" }
                ", or see " code { "amzigo bulk plan --help" } "."
            }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Bulk operations" {
                table {
                    thead { tr {
                        th scope="col" { "operation" } th scope="col" { "what" } th scope="col" { "stage" }
                        th scope="col" { "changed" } th.number scope="col" { "refused" } th scope="col" { "started" }
                        th scope="col" { "by" } th scope="col" { "why" }
                    } }
                    tbody { @for operation in &found { tr {
                        td { a.id href={ "/bulk/" (operation.id) } { (short(operation.id)) } }
                        td.why { (verb(operation.change)) " " (which(operation.change, &operation.filter)) }
                        td { (operation.stage) }
                        td { (bar(operation)) }
                        td.number { (operation.refused) }
                        td { (parts::age(operation.created_at, now)) }
                        td { (operation.actor) }
                        td.why { (operation.reason) }
                    } } }
                }
            }
        }
    };
    let frame = Frame { title: "Bulk operations", place: Place::Bulk, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content))
}

fn short(id: BulkId) -> String {
    let text = id.to_string();
    text.get(28..).map_or_else(|| text.clone(), |end| format!("…{end}"))
}

fn bar(operation: &Operation) -> Markup {
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    parts::bar(count(operation.changed), Some(count(operation.matched)))
}

fn problem(error: BulkError) -> Problem {
    match error {
        BulkError::Unknown(_) => Problem::NotFound(error.to_string()),
        BulkError::Ended { .. } | BulkError::Unreadable { .. } => Problem::Conflict(error.to_string()),
        BulkError::Database(error) => Problem::Database(error),
    }
}

/// The dry run, with the form that starts it.
pub(super) async fn plan(
    State(console): State<Console>,
    person: Person,
    Query(wanted): Query<Wanted>,
) -> Result<Html<String>, Problem> {
    let now = console.now();
    let (change, filter) = wanted.read(now)?;
    let plan = bulk::plan(&mut *console.pool.acquire().await?, change, &filter).await?;
    let content = html! {
        h1 { (verb(change)) " " (which(change, &plan.filter)) }
        (planned(&plan, now))
        @if plan.matched.jobs > 0 && person.may(Permission::Operate) { (start_form(&plan, &wanted, &person)) }
    };
    let frame = Frame { title: "Bulk operation", place: Place::Bulk, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content))
}

const fn verb(change: Change) -> &'static str {
    match change {
        Change::Requeue => "Requeue",
        Change::Discard => "Discard",
        Change::Cancel => "Cancel",
    }
}

/// Which jobs a filter lets through, in words.
fn which(change: Change, filter: &Filter) -> String {
    let (all, from) =
        if change.of_dead() { ("dead letters", "that died") } else { ("unfinished jobs", "enqueued") };
    let mut words = vec![all.to_owned()];
    words.extend(filter.kind.as_ref().map(|kind| format!("of {kind}")));
    words.extend(filter.queue.map(|queue| format!("on {queue}")));
    words.extend(filter.group.as_ref().map(|group| format!("for {group}")));
    words.extend(filter.pattern.as_ref().map(|key| format!("of group {key}")));
    words.extend(filter.error_contains.as_ref().map(|text| format!("with “{text}” in their error")));
    words.extend(filter.since.map(|at| format!("{from} since {}", at.format("%Y-%m-%d %H:%M:%S UTC"))));
    words.extend(filter.until.map(|at| format!("{from} before {}", at.format("%Y-%m-%d %H:%M:%S UTC"))));
    if words.len() == 1 {
        words.insert(0, "all".to_owned());
    }
    words.join(" ")
}

fn planned(plan: &Plan, now: DateTime<Utc>) -> Markup {
    let length =
        |seconds: u64| parts::span(TimeDelta::seconds(i64::try_from(seconds).unwrap_or(i64::MAX / 1_000)));
    html! {
        section {
            h2 { "Dry run" }
            @if plan.matched.jobs == 0 {
                p.empty { "Nothing to do: the filters let no job through now." }
            } @else {
                p {
                    strong { @if plan.matched.more { "More than " } (parts::quantity(plan.matched.jobs, "job")) }
                    " for " (parts::quantity(plan.matched.groups, "seller")) ". "
                    @match plan.change {
                        Change::Requeue => "They run again with all their attempts.",
                        Change::Discard => "They are given up, and stay in the ledger as cancelled with their errors.",
                        Change::Cancel => "Those that wait are cancelled at once, those that run are asked to stop.",
                    }
                }
                @if let Some(seconds) = plan.eta_seconds {
                    @if seconds == 0 {
                        p { "Amazon's usage plans have saved up enough calls for that." }
                    } @else {
                        p { "Amazon's usage plans need at least " strong { (length(seconds)) } " for that: until "
                            (parts::moment(now + TimeDelta::seconds(i64::try_from(seconds).unwrap_or(0)))) "." }
                    }
                    div.scroll {
                        table {
                            thead { tr { th { "budget" } th.number { "calls" } th.number { "a second" } th { "takes" } } }
                            tbody { @for need in &plan.budgets { tr {
                                td.id { (need.budget) } td.number { (need.calls) } td.number { (need.per_second) } td { (length(need.seconds)) }
                            } } }
                        }
                    }
                    p.note { "One call for each job and operation, at the documented rates; those with the longest wait." }
                } @else if plan.change == Change::Requeue {
                    p { "No budget at Amazon limits them." }
                }
            }
        }
    }
}

fn start_form(plan: &Plan, wanted: &Wanted, person: &Person) -> Markup {
    let at = |moment: Option<DateTime<Utc>>| moment.map(|at| at.to_rfc3339()).unwrap_or_default();
    // So long ago means so long before the dry run, whenever the form is sent.
    let (since, until) = (at(plan.filter.since), at(plan.filter.until));
    let hidden = [
        ("change", plan.change.name()),
        ("kind", &wanted.kind),
        ("queue", &wanted.queue),
        ("seller", &wanted.seller),
        ("error", &wanted.error),
        ("pattern", &wanted.pattern),
        ("since", &since),
        ("until", &until),
    ];
    let fields = html! {
        @for (name, value) in hidden { input type="hidden" name=(name) value=(value); }
        @if plan.second_look {
            label { "How many jobs are that? Type the count above"
                input name="count" required inputmode="numeric" pattern="[0-9]+" autocomplete="off";
            }
        }
    };
    html! {
        div.acts { (acting::act(person, "/bulk/start", verb(plan.change), plan.change != Change::Requeue, &fields)) }
    }
}

pub(super) async fn start(
    State(console): State<Console>,
    Acting { act, form }: Acting<Wanted>,
) -> Result<Response, Problem> {
    let now = console.now();
    let (change, filter) = form.read(now)?;
    let count = form.count.trim().parse().ok();
    let mut connection = console.pool.acquire().await?;
    match bulk::start(&mut connection, change, &filter, count, &act, now).await {
        Ok(id) => Ok(acting::done(&format!("/bulk/{id}"), "Started. A scheduler begins it within a second.")),
        Err(StartError::Database(error)) => Err(error.into()),
        Err(refused) => Err(Problem::Conflict(refused.to_string())),
    }
}

/// How far an operation is.
pub(super) async fn page(
    State(console): State<Console>,
    person: Person,
    Path(id): Path<String>,
) -> Result<Html<String>, Problem> {
    let id: BulkId = id.parse().map_err(Problem::Address)?;
    let now = console.now();
    let operation = operations::show(&mut *console.pool.acquire().await?, id).await.map_err(problem)?;
    let title = format!("{} {id}", verb(operation.change));
    let frame = Frame { title: &title, place: Place::Bulk, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content(&operation, &person, now)))
}

fn content(operation: &Operation, person: &Person, now: DateTime<Utc>) -> Markup {
    let stoppable = matches!(operation.stage, Stage::Planned | Stage::Running);
    html! {
        h1 { (verb(operation.change)) " " (which(operation.change, &operation.filter)) }
        p.id.whole { (operation.id) }
        p.progress { strong { (operation.stage) } ": " (bar(operation)) }
        @if operation.stage == Stage::Planned && now - operation.created_at > TimeDelta::seconds(10) {
            p.notice { "No scheduler has begun it. Is one running? " code { "amzigo doctor" } " says." }
        }
        @if let Some(error) = &operation.error {
            p.notice { strong { "The last slice failed, and is tried again: " } (error) }
        }
        @if stoppable && person.may(Permission::Operate) {
            div.acts { (acting::act(person, &format!("/bulk/{}/stop", operation.id), "Stop", true, &html! {})) }
        }
        section {
            dl {
                dt { "Matched" } dd { (operation.matched) }
                dt { "Changed" } dd { (operation.changed) }
                dt { "Refused" } dd { (operation.refused) }
                dt { "Left" } dd { (operation.left()) }
                dt { "Started" } dd { (parts::moment(operation.created_at)) " by " (operation.actor) ": " (operation.reason) }
                @if let Some(at) = operation.last_slice_at { dt { "Last slice" } dd { (parts::moment(at)) } }
                @if let Some(at) = operation.finished_at { dt { "Ended" } dd { (parts::moment(at)) } }
                @if let Some(left) = time_left(operation, now) { dt { "Left to do" } dd { "about " (parts::span(left)) } }
            }
        }
        @if !operation.refusals.is_empty() {
            section {
                h2 { "Refused" }
                ul.plain { @for refused in &operation.refusals { li { (parts::job_link(refused.id)) ": " (refused.why) } } }
                @if operation.refused > i64::try_from(operation.refusals.len()).unwrap_or(0) { p.note { "The first of them." } }
            }
        }
    }
}

/// As long for each job that is left as it took for those before.
fn time_left(operation: &Operation, now: DateTime<Utc>) -> Option<TimeDelta> {
    let done = i32::try_from(operation.changed + operation.refused).ok().filter(|done| *done > 0)?;
    let left = i32::try_from(operation.left()).ok().filter(|left| *left > 0)?;
    let took = now - operation.began_at?;
    (!operation.stage.ended()).then(|| took / done * left)
}

pub(super) async fn stop(
    State(console): State<Console>,
    Path(id): Path<String>,
    Acting { act, form: acting::Nothing {} }: Acting<acting::Nothing>,
) -> Result<Response, Problem> {
    let id: BulkId = id.parse().map_err(Problem::Address)?;
    let mut connection = console.pool.acquire().await?;
    let new = bulk::stop(&mut connection, id, &act, console.now()).await.map_err(problem)?;
    let notice = if new { "It stops after the slice that runs." } else { "It is stopping already." };
    Ok(acting::done(&format!("/bulk/{id}"), notice))
}
