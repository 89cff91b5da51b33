//! `/people`: who may use the console and for what, who is signed in where, and whose roles nobody has looked at for long.
//! Admins read it; what it changes asks for a factor given lately.

use std::collections::HashMap;

use axum::{
    extract::{Path, State},
    response::{Html, Response},
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use crate::{
    access::Rule,
    auth::{
        Permission, Person, Role, Roles, Token, invitations,
        session::{self, OpenSession, SessionId},
        staff::StaffId,
    },
    console::Console,
    ops::{
        self,
        invite::InviteError,
        people::{self, Member, PeopleError},
    },
    pages::{
        Problem,
        acting::{self, Acting},
        invitation::capital,
        layout::{self, Frame, Place},
        parts,
    },
    routes::Routes,
};

const PATH: &str = "/people";
/// More people or sessions than this are not listed; the command line lists all.
const MOST: usize = 200;

pub(super) fn add(routes: Routes) -> Routes {
    let change = Rule::SteppedUp(Permission::Administer);
    routes
        .get(PATH, Rule::Staff(Permission::Administer), page)
        .post("/people/invite", change, invite)
        .post("/people/{id}/reset", change, reset)
        .post("/people/{id}/roles", change, roles)
        .post("/people/{id}/review", change, review)
        .post("/people/{id}/disable", change, disable)
        .post("/people/{id}/enable", change, enable)
        .post("/people/sessions/{id}/revoke", change, revoke)
}

impl From<PeopleError> for Problem {
    fn from(error: PeopleError) -> Self {
        match error {
            PeopleError::Database(error) => error.into(),
            PeopleError::Unknown(_) => Self::NotFound("There is no such member of staff.".to_owned()),
            gone @ PeopleError::NoSession(_) => Self::NotFound(sentence(&gone.to_string())),
            refused => Self::Conflict(sentence(&refused.to_string())),
        }
    }
}

impl From<InviteError> for Problem {
    fn from(error: InviteError) -> Self {
        match error {
            InviteError::Database(error) => error.into(),
            wrong @ InviteError::Name(_) => Self::Address(sentence(&wrong.to_string())),
            refused => Self::Conflict(sentence(&refused.to_string())),
        }
    }
}

/// Words as a sentence.
fn sentence(words: &str) -> String {
    format!("{}.", capital(words))
}

async fn page(State(console): State<Console>, person: Person) -> Result<Html<String>, Problem> {
    let mut connection = console.pool.acquire().await?;
    let now = console.now();
    let members = people::list(&mut connection, now).await?;
    let sessions = session::list(&mut connection, None, now).await?;
    let content = html! {
        h1 { "People" }
        (due(&members))
        div.acts {
            (acting::act(&person, "/people/invite", "Invite somebody", false, &html! {
                label { "Name, as the audit log will show it"
                    input name="name" required maxlength="40" pattern="[a-z][a-z0-9._\\-]*" autocomplete="off" placeholder="ann.lee";
                }
                (boxes(&Roles::default()))
            }))
        }
        (table(&members, &person, now))
        (open(&sessions, &person, now))
    };
    let frame = Frame { title: "People", place: Place::People, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content))
}

fn due(members: &[Member]) -> Markup {
    let due: Vec<_> = members.iter().filter(|member| member.review_is_due).collect();
    html! {
        @if !due.is_empty() {
            p.notice {
                strong { (parts::quantity(i64::try_from(due.len()).unwrap_or(i64::MAX), "access review")) " due" }
                ": nobody has confirmed for " (people::REVIEW_EVERY.num_days()) " days that "
                @for (n, member) in due.iter().take(10).enumerate() { @if n > 0 { ", " } (member.name) }
                @if due.len() > 10 { " and others" }
                " still need what they may do."
            }
        }
    }
}

fn table(members: &[Member], person: &Person, now: DateTime<Utc>) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Members of staff" {
            table {
                thead { tr {
                    th scope="col" { "name" } th scope="col" { "roles" } th scope="col" { "last there" }
                    th scope="col" { "reviewed" } th scope="col" { "acts" }
                } }
                tbody { @for member in members.iter().take(MOST) { (line(member, person, now)) } }
            }
        }
        @if members.len() > MOST {
            p.note { "These are the first " (MOST) " of " (members.len()) "; all: " code { "amzigo staff list" } }
        }
    }
}

fn line(member: &Member, person: &Person, now: DateTime<Utc>) -> Markup {
    let oneself = member.id == person.staff;
    let path = |what: &str| format!("/people/{}/{what}", member.id);
    html! {
        tr {
            th scope="row" { (member.name) @if oneself { " (you)" } }
            td { @if let Some(at) = member.disabled_at { "disabled " (parts::age(at, now)) } @else { (member.roles) } }
            td { @match member.last_seen_at { Some(at) => (parts::age(at, now)), None => span.none { "never" } } }
            td {
                @match (member.reviewed_at, &member.reviewed_by) {
                    (Some(at), Some(by)) => { (parts::age(at, now)) " by " (by) },
                    _ => span.none { "not yet" },
                }
                @if member.review_is_due { strong { " due" } }
            }
            td {
                @if oneself {
                    span.none { "another admin decides about you" }
                } @else {
                    div.acts {
                        @if member.disabled_at.is_some() {
                            (acting::act(person, &path("enable"), "Enable", false, &html! {}))
                        } @else {
                            (acting::act(person, &path("roles"), "Roles", false, &boxes(&member.roles)))
                            (acting::act(person, &path("review"), "Confirm", false, &html! {
                                p { (member.name) " still needs: " (member.roles) }
                            }))
                            (acting::act(person, &path("reset"), "New way in", true, &html! {
                                p { "Takes every passkey, password and app from " (member.name) ", and shows a link for new ones. Make sure that it is them who asks." }
                            }))
                            (acting::act(person, &path("disable"), "Disable", true, &html! {}))
                        }
                    }
                }
            }
        }
    }
}

/// A box for each role.
fn boxes(roles: &Roles) -> Markup {
    html! {
        fieldset {
            legend { "Roles" }
            @for role in Role::ALL {
                label.box {
                    input type="checkbox" name={ "role-" (role) } checked[roles.iter().any(|had| had == role)];
                    " " (role)
                }
            }
        }
    }
}

/// The roles whose boxes were ticked.
fn ticked(form: &HashMap<String, String>) -> Result<Roles, Problem> {
    let ticked: Vec<_> =
        Role::ALL.into_iter().filter(|role| form.contains_key(&format!("role-{role}"))).collect();
    Roles::new(&ticked).map_err(|why| Problem::Address(sentence(&why)))
}

fn open(sessions: &[OpenSession], person: &Person, now: DateTime<Utc>) -> Markup {
    html! {
        h2 { "Open sessions" }
        div.scroll tabindex="0" role="region" aria-label="Open sessions" {
            table {
                thead { tr {
                    th scope="col" { "who" } th scope="col" { "browser" } th scope="col" { "opened" }
                    th scope="col" { "last used" } th scope="col" { "acts" }
                } }
                tbody { @for one in sessions.iter().take(MOST) { tr {
                    th scope="row" { (one.name) }
                    td { (one.agent) @if !one.complete { " (no second factor yet)" } }
                    td { (parts::age(one.created_at, now)) }
                    td { (parts::age(one.last_seen_at, now)) }
                    td {
                        @if one.id == person.session { span.none { "this one" } }
                        @else {
                            (acting::act(person, &format!("/people/sessions/{}/revoke", one.id), "End", true, &html! {}))
                        }
                    }
                } } }
            }
        }
        @if sessions.len() > MOST {
            p.note { "These are the " (MOST) " used last of " (sessions.len()) "; all: " code { "amzigo staff sessions" } }
        }
    }
}

async fn invite(
    State(console): State<Console>,
    person: Person,
    Acting { act, form }: Acting<HashMap<String, String>>,
) -> Result<Html<String>, Problem> {
    let name = form.get("name").map(|name| name.trim().to_owned()).unwrap_or_default();
    let roles = ticked(&form)?;
    let mut transaction = console.pool.begin().await?;
    let invited = ops::invite::invite(&mut transaction, &name, &roles, &act, console.now()).await?;
    transaction.commit().await?;
    Ok(shown(&console, &person, &name, &invited.token))
}

async fn reset(
    State(console): State<Console>,
    person: Person,
    Path(id): Path<String>,
    Acting { act, form: _ }: Acting<HashMap<String, String>>,
) -> Result<Html<String>, Problem> {
    let staff = staff(&id)?;
    let mut transaction = console.pool.begin().await?;
    let token = people::reset(&mut transaction, staff, &act, console.now()).await?;
    let members = people::list(&mut transaction, console.now()).await?;
    transaction.commit().await?;
    let name = members.into_iter().find(|member| member.id == staff).map(|member| member.name);
    Ok(shown(&console, &person, &name.unwrap_or_default(), &token))
}

/// The page that shows a link, this once.
fn shown(console: &Console, person: &Person, name: &str, token: &Token) -> Html<String> {
    let content = html! {
        p { "For " strong { (name) } ": it works once, until " (parts::moment(console.now() + invitations::GOOD_FOR)) "." }
        pre { (invitations::link(&console.origin, token)) }
        p { strong { "It is shown this once." } " Give it to them by a way that others do not read; whoever has it, is " (name) "." }
        p { a href=(PATH) { "Back to the people" } }
    };
    layout::alone("An invitation", Some(person), &content)
}

async fn roles(
    State(console): State<Console>,
    Path(id): Path<String>,
    Acting { act, form }: Acting<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let roles = ticked(&form)?;
    let mut transaction = console.pool.begin().await?;
    people::change_roles(&mut transaction, staff(&id)?, &roles, &act, console.now()).await?;
    transaction.commit().await?;
    Ok(acting::done(PATH, &format!("The roles are now: {roles}. Their sessions have ended.")))
}

async fn review(
    State(console): State<Console>,
    Path(id): Path<String>,
    Acting { act, form: _ }: Acting<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let mut transaction = console.pool.begin().await?;
    people::review(&mut transaction, staff(&id)?, &act, console.now()).await?;
    transaction.commit().await?;
    Ok(acting::done(PATH, "Confirmed, with your name and today's date."))
}

async fn disable(
    State(console): State<Console>,
    Path(id): Path<String>,
    Acting { act, form: _ }: Acting<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let mut transaction = console.pool.begin().await?;
    people::disable(&mut transaction, staff(&id)?, &act, console.now()).await?;
    transaction.commit().await?;
    Ok(acting::done(PATH, "Disabled. Their sessions have ended."))
}

async fn enable(
    State(console): State<Console>,
    Path(id): Path<String>,
    Acting { act, form: _ }: Acting<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let mut transaction = console.pool.begin().await?;
    people::enable(&mut transaction, staff(&id)?, &act, console.now()).await?;
    transaction.commit().await?;
    Ok(acting::done(PATH, "Enabled, with the roles and factors they had."))
}

async fn revoke(
    State(console): State<Console>,
    Path(id): Path<String>,
    Acting { act, form: _ }: Acting<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let id: SessionId = id.parse().map_err(Problem::Address)?;
    let mut transaction = console.pool.begin().await?;
    let ended = people::revoke(&mut transaction, id, None, &act, console.now()).await?;
    transaction.commit().await?;
    Ok(acting::done(PATH, &format!("A session of {} has ended.", ended.name)))
}

fn staff(id: &str) -> Result<StaffId, Problem> {
    id.parse().map_err(Problem::Address)
}
