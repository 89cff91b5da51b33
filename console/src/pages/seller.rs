//! `/sellers/ID`: one seller: how fresh its data are, its calls at Amazon, what waits, and what can be done.

use std::time::Duration;

use axum::{
    extract::{Path, State},
    response::{Html, Response},
};
use chrono::{DateTime, TimeDelta, Utc};
use jobs::store::sellers::SellerId;
use maud::{Markup, html};
use queue::{Queue, controls::Scope, failure, limit::BudgetError, outbox::Cause};

use crate::{
    auth::{Permission, Person},
    console::Console,
    ops::{
        Act,
        backlog::{self, Waiting},
        budgets::{self, SellerBudget},
        controls::{self, Change, ChangeError, Setting},
        freshness::{self, Freshness},
        sellers::{self, DisconnectError, Seller, SyncError},
    },
    pages::{
        acting::{self, Acting, Nothing},
        layout::{self, Frame, Place},
        parts,
        problem::Problem,
    },
};

/// Longest wait for Redis before the page is shown without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a seller's calls to Amazon wait.
const QUEUE: Queue = Queue::Sync;

pub(super) async fn page(
    State(console): State<Console>,
    person: Person,
    Path(id): Path<String>,
) -> Result<Html<String>, Problem> {
    let id = read(&id)?;
    let now = console.now();
    let mut connection = console.pool.acquire().await?;
    let seller = sellers::one(&mut connection, id).await?.ok_or_else(|| {
        Problem::NotFound(format!("There is no seller {id}; /sellers shows those that there are."))
    })?;
    let fresh = freshness::of(&mut connection, Some(id), 1).await?.into_iter().next();
    let waiting = backlog::of(&mut connection, &id.to_string()).await?;
    let paused = paused(&controls::list(&mut connection, Some(QUEUE)).await?, id);
    drop(connection);
    let redis = tokio::time::timeout(PATIENCE, levels(&console, id, &waiting)).await;
    let redis = redis.unwrap_or_else(|_| Err("Redis does not answer".to_owned()));
    let content = html! {
        h1 { "Seller" }
        p.id.whole { (id) }
        @if person.may(Permission::Operate) { (buttons(&seller, paused.is_some(), &person)) }
        @if let Some(paused) = &paused { p.notice { strong { "Paused" } " " (paused) } }
        div.columns { (about(&seller)) (data(fresh.as_ref(), now)) }
        (waits(&seller, &waiting, redis.as_ref().map(|(_, eta)| *eta)))
        (gauges(redis.as_ref().map(|(levels, _)| levels.as_slice()), now))
    };
    let frame = Frame { title: "Seller", place: Place::Sellers, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content))
}

fn read(id: &str) -> Result<SellerId, Problem> {
    id.parse().map_err(Problem::Address)
}

/// Since when the seller is paused, by whom and why, where it is.
fn paused(said: &[controls::Control], id: SellerId) -> Option<String> {
    let of_it = |control: &&controls::Control| {
        control.setting == Setting::Paused && control.scope == Scope::Group(id.to_string())
    };
    let decided = said.iter().find(of_it)?.decided.clone()?;
    let by = decided.by.map(|by| format!("by {by}: ")).unwrap_or_default();
    Some(format!("{by}{}", decided.reason.unwrap_or_default()))
}

/// What Redis knows: the budgets, and how long what waits takes by them.
async fn levels(
    console: &Console,
    id: SellerId,
    waiting: &[Waiting],
) -> Result<(Vec<SellerBudget>, Option<u64>), String> {
    let both = async {
        let levels = budgets::of_sellers(&console.budgets, &[id]).await?;
        Ok::<_, BudgetError>((levels, backlog::eta(&console.budgets, waiting).await?))
    };
    both.await.map_err(|error| failure::chain(&error))
}

fn buttons(seller: &Seller, paused: bool, person: &Person) -> Markup {
    let to = |act: &str| format!("/sellers/{}/{act}", seller.id);
    let none = html! {};
    html! {
        div.acts {
            @if seller.state == "active" { (acting::act(person, &to("sync"), "Sync now", false, &none)) }
            @if paused {
                (acting::act(person, &to("resume"), "Resume", false, &none))
            } @else {
                (acting::act(person, &to("pause"), "Pause", false, &none))
            }
            @if seller.state != "disconnected" { (acting::act(person, &to("disconnect"), "Disconnect", true, &none)) }
        }
    }
}

fn about(seller: &Seller) -> Markup {
    html! {
        section {
            h2 { "Account" }
            dl {
                dt { "State" } dd { (seller.state.replace('_', " ")) @if let Some(why) = &seller.state_reason { ": " (why) } }
                dt { "At Amazon" } dd.id { (seller.selling_partner_id) }
                dt { "Region" } dd { (seller.region) }
                dt { "Marketplaces" } dd.id { (seller.marketplace_ids.join(" ")) }
                dt { "Connected" } dd { (parts::moment(seller.connected_at)) }
                dt { "Authorised until" } dd { (parts::moment(seller.authorised_until)) }
                @if let Some(by) = seller.data_deleted_by { dt { "Data deleted by" } dd { (parts::moment(by)) } }
                @if let Some(at) = seller.data_deleted_at { dt { "Data deleted" } dd { (parts::moment(at)) } }
            }
            p { a href={ "/jobs?" (parts::query(&[("seller", &seller.id.to_string())])) } { "All of its jobs" } }
        }
    }
}

fn data(fresh: Option<&Freshness>, now: DateTime<Utc>) -> Markup {
    let age = |at: Option<DateTime<Utc>>| html! { @if let Some(at) = at { (parts::age(at, now)) } @else { "not yet" } };
    html! {
        section {
            h2 { "Age of its data" }
            @if let Some(fresh) = fresh {
                dl {
                    dt { "Orders" } dd { (age(fresh.orders)) }
                    dt { "Order history" } dd { (format!("{:.0} %", fresh.order_history_part * 100.0)) }
                    dt { "Stock" } dd { (age(fresh.inventory)) }
                    dt { "Listings" } dd { (age(fresh.listings)) }
                    dt { "Sales" } dd { (age(fresh.performance)) }
                    dt { "Sells in" } dd { (age(fresh.participations)) }
                    dt { "Review requests" } dd { (fresh.review_requests_sent) " sent, " (fresh.review_requests_open) " open" }
                }
            }
        }
    }
}

fn waits(seller: &Seller, waiting: &[Waiting], eta: Result<Option<u64>, &String>) -> Markup {
    let id = seller.id.to_string();
    let list =
        |kind: &str, state: &str| parts::query(&[("kind", kind), ("state", state), ("seller", id.as_str())]);
    html! {
        section {
            h2 { "Unfinished work" }
            @if waiting.is_empty() {
                p.empty { "Nothing waits for it." }
            } @else {
                p { @match eta {
                    Ok(Some(seconds)) => {
                        "By its budgets done in about "
                        strong { (parts::span(TimeDelta::seconds(i64::try_from(seconds).unwrap_or(0).max(1)))) }
                        ", if each job makes one call of each operation and nobody else calls."
                    },
                    Ok(None) => "No budget at Amazon limits it.",
                    Err(unknown) => { "How long it takes cannot be told now: " (unknown) "." },
                } }
                ul.plain { @for kind in waiting { li {
                    (kind.kind) ": " a href={ "/jobs?" (list(&kind.kind, "")) } { (parts::quantity(kind.jobs, "job")) }
                } } }
            }
        }
    }
}

fn gauges(levels: Result<&[SellerBudget], &String>, now: DateTime<Utc>) -> Markup {
    html! {
        section {
            h2 { "Calls at Amazon" }
            @match levels {
                Err(unknown) => p { "Cannot be told now: " (unknown) "." },
                Ok(levels) => div.scroll tabindex="0" role="region" aria-label="Budgets" {
                    table {
                        thead { tr {
                            th scope="col" { "operation" } th scope="col" { "calls now" } th scope="col" { "next call" }
                            th.number scope="col" { "a second" } th.number scope="col" { "set aside" } th scope="col" { "share" }
                        } }
                        tbody { @for budget in levels { tr {
                            td { code { (budget.operation) } }
                            (parts::budget(&budget.level, now))
                        } } }
                    }
                },
            }
        }
    }
}

pub(super) async fn sync(
    State(console): State<Console>,
    Path(id): Path<String>,
    Acting { act, form: Nothing {} }: Acting<Nothing>,
) -> Result<Response, Problem> {
    let id = read(&id)?;
    let mut connection = console.pool.acquire().await?;
    match sellers::sync_now(&mut connection, id, Cause::Console, &act, console.now()).await {
        Ok(()) => Ok(acting::done(
            &format!("/sellers/{id}"),
            "Its syncs are enqueued; those that waited are brought forward.",
        )),
        Err(SyncError::Database(error)) => Err(error.into()),
        Err(error @ SyncError::Unknown(_)) => Err(Problem::NotFound(error.to_string())),
        Err(error) => Err(Problem::Conflict(error.to_string())),
    }
}

pub(super) async fn pause(
    State(console): State<Console>,
    Path(id): Path<String>,
    Acting { act, form: Nothing {} }: Acting<Nothing>,
) -> Result<Response, Problem> {
    control(&console, &id, Change::Pause, &act).await
}

pub(super) async fn resume(
    State(console): State<Console>,
    Path(id): Path<String>,
    Acting { act, form: Nothing {} }: Acting<Nothing>,
) -> Result<Response, Problem> {
    control(&console, &id, Change::Resume, &act).await
}

async fn control(console: &Console, id: &str, change: Change, act: &Act) -> Result<Response, Problem> {
    let id = read(id)?;
    let scope = Scope::Group(id.to_string());
    let mut connection = console.pool.acquire().await?;
    let changed = controls::change(&mut connection, QUEUE, &scope, change, act, console.now())
        .await
        .map_err(|error| match error {
            ChangeError::Database(error) => Problem::Database(error),
            refused => Problem::Conflict(refused.to_string()),
        })?;
    let told = tokio::time::timeout(PATIENCE, controls::tell(&mut connection, &console.engine, QUEUE)).await;
    let notice = match (changed, told) {
        (false, _) => "Nothing new: it is so already.",
        (true, Ok(Ok(()))) if change == Change::Pause => {
            "Paused: nothing more of it is taken; what runs goes on."
        }
        (true, Ok(Ok(()))) => "It is taken again.",
        (true, _) => "Noted. Redis did not answer; the scheduler tells it when it is back.",
    };
    Ok(acting::done(&format!("/sellers/{id}"), notice))
}

pub(super) async fn disconnect(
    State(console): State<Console>,
    Path(id): Path<String>,
    Acting { act, form: Nothing {} }: Acting<Nothing>,
) -> Result<Response, Problem> {
    let id = read(&id)?;
    let mut connection = console.pool.acquire().await?;
    match sellers::disconnect(&mut connection, id, Cause::Console, &act, console.now()).await {
        Ok(said) => Ok(acting::done(&format!("/jobs/{}", said.job), "This job disconnects the seller.")),
        Err(DisconnectError::Database(error)) => Err(error.into()),
        Err(error @ DisconnectError::Unknown(_)) => Err(Problem::NotFound(error.to_string())),
        Err(error @ (DisconnectError::Already { .. } | DisconnectError::Enqueue(_))) => {
            Err(Problem::Conflict(error.to_string()))
        }
    }
}
