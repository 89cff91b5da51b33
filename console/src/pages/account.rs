//! `/account`: what somebody may do here, where they are signed in, and what they prove who they are with.

use axum::{
    extract::{Path, State},
    response::{Html, Response},
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use crate::{
    access::Rule,
    auth::{
        Permission, Person,
        session::{self, OpenSession, SessionId},
    },
    console::Console,
    ops::{Act, Via, people},
    pages::{
        Problem,
        acting::done,
        factors,
        layout::{self, Frame, Place},
        parts,
    },
    routes::Routes,
};

const PATH: &str = "/account";

/// Everybody has one: whoever is signed in may see something.
pub(super) fn add(routes: Routes) -> Routes {
    let own = Rule::Staff(Permission::View);
    routes.get(PATH, own, page).post("/account/sessions/{id}/revoke", own, revoke).post(
        "/account/sessions/revoke-others",
        own,
        revoke_others,
    )
}

async fn page(State(console): State<Console>, person: Person) -> Result<Html<String>, Problem> {
    let now = console.now();
    let sessions = session::list(&mut *console.pool.acquire().await?, Some(person.staff), now).await?;
    let content = html! {
        h1 { (person.name) }
        p { "Your roles: " (person.roles) ". An admin changes them." }
        (own(&sessions, &person, now))
        (factors::section(&console, &person).await?)
    };
    let frame = Frame { title: "Your account", place: Place::Nowhere, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content))
}

fn own(sessions: &[OpenSession], person: &Person, now: DateTime<Utc>) -> Markup {
    let csrf = html! { input type="hidden" name="csrf" value=(person.csrf.text()); };
    html! {
        section {
            h2 { "Where you are signed in" }
            div.scroll tabindex="0" role="region" aria-label="Your sessions" {
                table {
                    thead { tr {
                        th scope="col" { "browser" } th scope="col" { "opened" } th scope="col" { "last used" } th scope="col" { "acts" }
                    } }
                    tbody { @for one in sessions { tr {
                        th scope="row" { (one.agent) }
                        td { (parts::moment(one.created_at)) }
                        td { (parts::age(one.last_seen_at, now)) }
                        td {
                            @if one.id == person.session { "this one" }
                            @else {
                                form method="post" action={ "/account/sessions/" (one.id) "/revoke" } {
                                    (csrf) button { "End" }
                                }
                            }
                        }
                    } } }
                }
            }
            @if sessions.len() > 1 {
                form method="post" action="/account/sessions/revoke-others" { (csrf) button { "End all others" } }
            } @else {
                p.note { "Nowhere else. A session ends by itself after half an hour of rest, and twelve hours after it was opened." }
            }
        }
    }
}

/// Whoever ends their own sessions needs no other reason.
fn act(person: &Person) -> Result<Act, Problem> {
    let act =
        Act::new(&person.name, "their own session").map_err(|error| Problem::Address(error.to_string()))?;
    Ok(act.via(Via::Console))
}

async fn revoke(
    State(console): State<Console>,
    person: Person,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: SessionId = id.parse().map_err(Problem::Address)?;
    let mut transaction = console.pool.begin().await?;
    people::revoke(&mut transaction, id, Some(person.staff), &act(&person)?, console.now()).await?;
    transaction.commit().await?;
    Ok(done(PATH, "That session has ended."))
}

async fn revoke_others(State(console): State<Console>, person: Person) -> Result<Response, Problem> {
    let mut transaction = console.pool.begin().await?;
    let (staff, but) = (person.staff, person.session);
    people::revoke_others(&mut transaction, staff, but, &act(&person)?, console.now()).await?;
    transaction.commit().await?;
    Ok(done(PATH, "All your other sessions have ended."))
}
