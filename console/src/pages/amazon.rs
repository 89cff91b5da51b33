//! `/amazon`: what we call at Amazon, and why, made from the closed list that the client obeys; and how the budgets stand that sellers share.

use std::time::Duration;

use axum::{extract::State, response::Html};
use chrono::{DateTime, Utc};
use jobs::sp_api::{
    Operation, Region,
    budgets::application_budget,
    operations::{APPLICATION_PLANS, Caller, PLANS},
};
use maud::{Markup, html};
use queue::{
    failure,
    limit::{BudgetError, Level, MAX_TOGETHER},
};

use crate::{
    auth::Person,
    console::Console,
    pages::{
        layout::{self, Frame, Place},
        parts,
    },
};

/// Longest wait for Redis before the page is shown without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Our application's budgets, which all sellers of a region share, as they stand.
async fn shared(console: &Console) -> Result<Vec<(String, Level)>, String> {
    let all = [Region::Na, Region::Eu, Region::Fe]
        .into_iter()
        .flat_map(|region| Operation::ALL.map(|operation| application_budget(region, operation)));
    let wanted: Vec<_> = all.flatten().collect();
    let look = async {
        let mut seen = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(MAX_TOGETHER) {
            let levels = console.budgets.look(some).await?;
            seen.extend(some.iter().map(|budget| budget.name.clone()).zip(levels));
        }
        Ok::<_, BudgetError>(seen)
    };
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(seen) => seen.map_err(|error| failure::chain(&error)),
        Err(_) => Err("Redis does not answer".to_owned()),
    }
}

/// A table of those that somebody uses at the moment.
fn gauges(shared: &Result<Vec<(String, Level)>, String>, now: DateTime<Utc>) -> Markup {
    html! {
        h2 { "What all sellers of a region share" }
        @match shared {
            Err(unknown) => p { "Cannot be told now: " (unknown) "." },
            Ok(shared) => {
                @let used: Vec<_> = shared.iter().filter(|(_, level)| level.calls < u64::from(level.burst)).collect();
                @if used.is_empty() {
                    p.empty { "All of these budgets are full." }
                } @else {
                    div.scroll tabindex="0" role="region" aria-label="Shared budgets" {
                        table {
                            thead { tr {
                                th scope="col" { "budget" } th scope="col" { "calls now" } th scope="col" { "next call" }
                                th.number scope="col" { "a second" } th.number scope="col" { "set aside" } th scope="col" { "share" }
                            } }
                            tbody { @for (name, level) in used { tr { td { code { (name) } } (parts::budget(level, now)) } } }
                        }
                    }
                }
            },
        }
    }
}

pub(super) async fn page(State(console): State<Console>, person: Person) -> Html<String> {
    let now = console.now();
    let shared = shared(&console).await;
    let content = html! {
        h1 { "What we call at Amazon, and why" }
        p {
            "The list is closed: nothing else can be called. The Pricing and the Finance role are registered and never used; "
            "data about buyers, proceeds or expenses are never asked for, and dropped when they come."
        }
        div.scroll tabindex="0" role="region" aria-label="Operations" {
            table {
                thead { tr {
                    th scope="col" { "operation" }
                    th scope="col" { "request" }
                    th scope="col" { "why" }
                    th scope="col" { "for" }
                    th scope="col" { "any one of these roles" }
                    th scope="col" { "calls a second / burst" }
                    th scope="col" { "for all sellers of a region" }
                } }
                tbody {
                    @for entry in Operation::ALL.map(Operation::entry) {
                        tr {
                            td { code { (entry.name) } }
                            td { code { (entry.method) " " (entry.path) } }
                            td.why { (entry.why) }
                            td { @match entry.caller {
                                Caller::Seller => "a seller",
                                Caller::Application(_) => "ourselves",
                            } }
                            td { (entry.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ")) }
                            td { (entry.plan.rate) " / " (entry.plan.burst) }
                            td { @match entry.application_plan {
                                Some(plan) => { (plan.rate) " / " (plan.burst) },
                                None => "none known",
                            } }
                        }
                    }
                }
            }
        }
        (gauges(&shared, now))
        p {
            "Usage plans: " (PLANS.document) ", " (PLANS.date) ". Limits for all sellers: " (APPLICATION_PLANS.document) ", "
            (APPLICATION_PLANS.date) ". What Amazon tells with its answers goes before both: "
            code { "amzigo budgets" } " shows what is in force."
        }
    };
    let frame = Frame { title: "Amazon", place: Place::Amazon, now: Some(now), person: Some(&person) };
    layout::page(&frame, &content)
}
