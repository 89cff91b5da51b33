//! `/jobs`: jobs by anything that is known of them. All of it is in the address, so that a list can be sent to a colleague.

use ::jobs::catalog::CATALOG;
use axum::{
    extract::{Query, State},
    response::{IntoResponse, Redirect, Response},
};
use chrono::{DateTime, SecondsFormat, Utc};
use maud::{Markup, html};
use queue::{
    JobId, Queue, State as JobState,
    bulk::{Change, MAX_SLICE},
};
use serde::Deserialize;

use crate::{
    auth::{Permission, Person},
    console::Console,
    ops::{
        bulk,
        jobs::{self, Filter, JobLine, Page, StateCounts},
        search::{QUALIFIERS, Search},
    },
    pages::{
        acting::{self, Acting},
        layout::{self, Frame, Place},
        parts,
        problem::Problem,
    },
};

/// What the address has: a line of qualifiers, which leads on to an address that has them one by one; or those.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Address {
    q: Option<String>,
    #[serde(flatten)]
    search: Search,
}

const PAGE: u16 = 50;

/// The address of what is searched for.
pub(super) fn address(search: &Search) -> String {
    let mut set = search.set();
    set.push(("before", search.before.trim()));
    format!("/jobs?{}", parts::query(&set))
}

pub(super) async fn page(
    State(console): State<Console>,
    person: Person,
    Query(Address { q, search }): Query<Address>,
) -> Result<Response, Problem> {
    if let Some(line) = q {
        let to = match line.trim().parse::<JobId>() {
            Ok(id) => format!("/jobs/{id}"),
            Err(_) => address(&Search::read(&line).map_err(Problem::Address)?),
        };
        return Ok(Redirect::to(&to).into_response());
    }
    let now = console.now();
    let filter = search.filter(now).map_err(Problem::Address)?;
    let mut connection = console.pool.acquire().await?;
    let found = jobs::list(&mut connection, &filter, PAGE).await?;
    let counts = jobs::counts(&mut connection, &filter).await?;
    let only_dead = filter.state == Some(JobState::Dead);
    let (place, title) = if only_dead { (Place::Dead, "Dead letters") } else { (Place::Jobs, "Jobs") };
    let content = html! {
        h1 { (title) }
        (form(&search))
        (tabs(&search, counts.as_ref()))
        (results(&search, &filter, &found, &person, now))
    };
    let frame = Frame { title, place, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content).into_response())
}

fn form(search: &Search) -> Markup {
    let suggested = CATALOG
        .iter()
        .map(|kind| format!("kind:{}", kind.name))
        .chain(JobState::ALL.iter().map(|state| format!("state:{state}")))
        .chain(Queue::ALL.iter().map(|queue| format!("queue:{queue}")))
        .chain(["since:1h", "since:1d", "ended_since:1h", "error:\"timed out\""].map(str::to_owned));
    html! {
        form.search action="/jobs" method="get" role="search" {
            input name="q" type="search" value=(search.line()) list="qualifiers" aria-label="Look for jobs" autocomplete="off"
                spellcheck="false" placeholder="a job's id, or kind:sync_orders error:\"timed out\" since:2h";
            datalist #qualifiers { @for one in suggested { option value=(one) {} } }
            button { "Look" }
        }
        details.hint {
            summary { "What to look by" }
            dl { @for (name, takes) in QUALIFIERS { dt { code { (name) ":" } } dd { (takes) } } }
            p { "Words without a qualifier are looked for in errors; quotes keep words together. A job's id leads to the job." }
        }
    }
}

/// The states with how many there are, as far as that was counted.
fn tabs(search: &Search, counts: Option<&StateCounts>) -> Markup {
    let to =
        |state: &str| address(&Search { state: state.to_owned(), before: String::new(), ..search.clone() });
    html! {
        nav.tabs aria-label="States" {
            a href=(to("")) aria-current=[search.state.trim().is_empty().then_some("true")] { "all" }
            @for state in JobState::ALL {
                a href=(to(state.name())) data-state=(state) aria-current=[(search.state.trim() == state.name()).then_some("true")] {
                    (state)
                    @if let Some((count, more)) = counts.map(|counts| counts.of(state)) {
                        " " span.count { (count) @if more { "+" } }
                    }
                }
            }
        }
    }
}

fn results(search: &Search, filter: &Filter, found: &Page, person: &Person, now: DateTime<Utc>) -> Markup {
    let operates = person.may(Permission::Operate);
    html! {
        @if operates { (of_all(filter)) }
        @if found.jobs.is_empty() {
            (nothing(search, found))
        } @else if operates {
            form method="post" action="/jobs/change" {
                input type="hidden" name="csrf" value=(person.csrf.text());
                input type="hidden" name="back" value=(address(search));
                (table(&found.jobs, true, now))
                fieldset.acts {
                    legend { "The chosen ones" }
                    label { "Reason, for the audit log"
                        input name="reason" required maxlength="1000" autocomplete="off" placeholder="why you do this";
                    }
                    button name="change" value="requeue" { "Requeue" }
                    button.danger name="change" value="discard" { "Discard" }
                    button.danger name="change" value="cancel" { "Cancel" }
                }
            }
        } @else {
            (table(&found.jobs, false, now))
        }
        @if let Some(next) = found.next {
            @let further = address(&Search { before: next.to_string(), ..search.clone() });
            @if let (Some(looked), false) = (found.looked_at, found.jobs.is_empty()) {
                p.note { "These are among the last " (looked) " jobs that were looked at. " a href=(further) rel="next" { "Look further back" } }
            } @else if found.looked_at.is_none() {
                p { a href=(further) rel="next" { "Older" } }
            }
        }
    }
}

/// What can be done to all that the filters let through, beyond the page.
fn of_all(filter: &Filter) -> Markup {
    let dead = filter.state == Some(JobState::Dead) || filter.pattern.is_some();
    let unfinished = matches!(filter.state, Some(JobState::Ready | JobState::Delayed | JobState::Running));
    // A bulk operation knows neither of these.
    let told_by_others = filter.batch.is_some() || filter.caused_by.is_some() || filter.cause.is_some();
    let at = |moment: Option<DateTime<Utc>>| {
        moment.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)).unwrap_or_default()
    };
    let (since, until) =
        if dead { (filter.ended_since, filter.ended_until) } else { (filter.since, filter.until) };
    let elsewhere =
        if dead { filter.since.or(filter.until) } else { filter.ended_since.or(filter.ended_until) };
    let plan = |change: Change| {
        let (since, until) = (at(since), at(until));
        let query = parts::query(&[
            ("change", change.name()),
            ("kind", filter.kind.as_deref().unwrap_or_default()),
            ("queue", filter.queue.map(Queue::name).unwrap_or_default()),
            ("seller", filter.group.as_deref().unwrap_or_default()),
            ("error", filter.error_contains.as_deref().unwrap_or_default()),
            ("pattern", filter.pattern.as_deref().unwrap_or_default()),
            ("since", &since),
            ("until", &until),
        ]);
        format!("/bulk/new?{query}")
    };
    html! {
        @if told_by_others || elsewhere.is_some() {
        } @else if dead {
            p.acts { a.button href=(plan(Change::Requeue)) { "Requeue all …" } a.button href=(plan(Change::Discard)) { "Discard all …" } }
        } @else if unfinished && filter.state != Some(JobState::Running) {
            p.acts { a.button href=(plan(Change::Cancel)) { "Cancel all unfinished …" } }
        }
    }
}

fn table(found: &[JobLine], choose: bool, now: DateTime<Utc>) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Jobs" {
            table.jobs {
                thead { tr {
                    @if choose { th { span.hidden { "chosen" } } }
                    th { "job" } th { "kind" } th { "state" } th.for { "for" } th.number { "attempts" }
                    th { "enqueued" } th { "why" }
                } }
                tbody { @for job in found { (line(job, choose, now)) } }
            }
        }
    }
}

fn line(job: &JobLine, choose: bool, now: DateTime<Utc>) -> Markup {
    html! {
        tr {
            @if choose {
                td { input type="checkbox" name="id" value=(job.id) aria-label={ "choose " (job.kind) " " (job.id) }; }
            }
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
fn nothing(search: &Search, found: &Page) -> Markup {
    let set = search.set();
    let further = found.next.map(|next| address(&Search { before: next.to_string(), ..search.clone() }));
    html! {
        p.empty {
            @if let (Some(further), Some(looked)) = (further, found.looked_at) {
                "None among the last " (looked) " jobs that were looked at. " a href=(further) rel="next" { "Look further back" }
                ", or say more: a seller, a state or a time makes it quick."
            } @else if set == [("state", JobState::Dead.name())] && search.before.is_empty() {
                "No dead letters: every job that ended, ended well."
            } @else if set.is_empty() && search.before.is_empty() {
                "No job was ever enqueued. " code { "amzigo enqueue --help" } " shows how; schedules fire by themselves once a seller is connected."
            } @else {
                "No such jobs. " a href="/jobs" { "Show all" } "."
            }
        }
    }
}

/// Changes the jobs that were chosen on a page.
pub(super) async fn change(
    State(console): State<Console>,
    Acting { act, form }: Acting<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value);
    let change: Change = field("change").parse().map_err(Problem::Address)?;
    let ids = form.iter().filter(|(key, _)| key == "id").map(|(_, id)| id.parse());
    let ids: Vec<JobId> = ids.collect::<Result<_, String>>().map_err(Problem::Address)?;
    if ids.is_empty() || ids.len() > MAX_SLICE {
        return Err(Problem::Address(format!("Choose 1 to {MAX_SLICE} jobs; nothing was done.")));
    }
    let mut connection = console.pool.acquire().await?;
    let done = bulk::change(&mut connection, change, &ids, &act, console.now()).await?;
    let mut notice = format!("{}: {} jobs.", past(change), done.changed.len());
    if let Some(first) = done.refused.first() {
        if done.changed.is_empty() && done.refused.len() == 1 {
            return Err(Problem::Conflict(first.why.clone()));
        }
        notice = format!("{notice} {} refused; the first: {}", done.refused.len(), first.why);
    }
    let back = Some(field("back")).filter(|back| back.starts_with("/jobs?") && back.is_ascii());
    Ok(acting::done(back.unwrap_or("/jobs"), &notice))
}

/// What was done, at the beginning of a sentence.
pub(super) const fn past(change: Change) -> &'static str {
    match change {
        Change::Requeue => "Requeued",
        Change::Discard => "Discarded",
        Change::Cancel => "Cancelled, or asked to stop",
    }
}
