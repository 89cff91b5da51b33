//! `/keys`: the keys of programs. A new key or secret is on the page that answers its form, and nowhere else.

use axum::{
    extract::{Path, State},
    response::{Html, Response},
};
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use serde::Deserialize;

use crate::{
    auth::{
        Person,
        api_key::{KeyId, KeyText, Scope},
    },
    console::Console,
    ops::keys::{self, KeyError, KeyLine, KeyState, NewKey},
    pages::{
        acting::{self, Acting},
        layout::{self, Frame, Place},
        parts,
        problem::Problem,
    },
};

pub(super) async fn page(State(console): State<Console>, person: Person) -> Result<Html<String>, Problem> {
    let now = console.now();
    let keys = keys::list(&mut *console.pool.acquire().await?, now).await?;
    let frame = Frame { title: "Keys", place: Place::Keys, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content(&keys, &person, now)))
}

/// What a new key is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    owner: String,
    #[serde(default)]
    enqueue: Option<String>,
    #[serde(default)]
    read: Option<String>,
    #[serde(default)]
    cancel: Option<String>,
    #[serde(default)]
    batches: Option<String>,
    #[serde(default)]
    schedules: Option<String>,
    #[serde(default)]
    kinds: String,
    days: String,
    rate: String,
    burst: String,
}

impl Asked {
    fn key(&self) -> Result<NewKey, Problem> {
        let ticked = [
            (Scope::Enqueue, &self.enqueue),
            (Scope::Read, &self.read),
            (Scope::Cancel, &self.cancel),
            (Scope::Batches, &self.batches),
            (Scope::Schedules, &self.schedules),
        ];
        let number = |name: &str, text: &str| {
            let wrong = || Problem::Address(format!("{name} must be a whole number."));
            text.trim().parse::<i32>().map_err(|_| wrong())
        };
        let kinds = self.kinds.split([',', ' ', '\n', '\r']).filter(|kind| !kind.is_empty());
        Ok(NewKey {
            owner: self.owner.trim().to_owned(),
            scopes: ticked.into_iter().filter(|(_, tick)| tick.is_some()).map(|(scope, _)| scope).collect(),
            kinds: kinds.map(str::to_owned).collect(),
            lifetime: TimeDelta::days(i64::from(number("Days", &self.days)?)),
            rate_per_second: number("Requests a second", &self.rate)?,
            burst: number("Requests at once", &self.burst)?,
        })
    }
}

pub(super) async fn create(
    State(console): State<Console>,
    person: Person,
    Acting { act, form }: Acting<Asked>,
) -> Result<Html<String>, Problem> {
    let (new, now) = (form.key()?, console.now());
    let mut connection = console.pool.acquire().await?;
    let key = keys::create(&mut connection, &new, &act, now).await.map_err(problem)?;
    Ok(shown(&person, &key, now + new.lifetime, now))
}

/// How long the secret before goes on.
#[derive(Debug, Deserialize)]
pub(super) struct Overlap {
    hours: String,
}

pub(super) async fn rotate(
    State(console): State<Console>,
    person: Person,
    Path(id): Path<String>,
    Acting { act, form }: Acting<Overlap>,
) -> Result<Html<String>, Problem> {
    let id: KeyId = id.parse().map_err(Problem::Address)?;
    let wrong = || Problem::Address("The overlap must be a whole number of hours, up to 8760.".to_owned());
    let hours =
        form.hours.trim().parse().ok().filter(|hours| (0..=8_760).contains(hours)).ok_or_else(wrong)?;
    let now = console.now();
    let mut connection = console.pool.acquire().await?;
    let key = keys::rotate(&mut connection, id, TimeDelta::hours(hours), keys::LIFETIME, &act, now)
        .await
        .map_err(problem)?;
    Ok(shown(&person, &key, now + keys::LIFETIME, now))
}

/// A form of nothing but its reason.
#[derive(Debug, Deserialize)]
pub(super) struct Nothing {}

pub(super) async fn revoke(
    State(console): State<Console>,
    Path(id): Path<String>,
    Acting { act, form: Nothing {} }: Acting<Nothing>,
) -> Result<Response, Problem> {
    let id: KeyId = id.parse().map_err(Problem::Address)?;
    keys::revoke(&mut *console.pool.acquire().await?, id, &act, console.now()).await.map_err(problem)?;
    Ok(acting::done("/keys", &format!("Key {id} is revoked: it opens nothing any more.")))
}

fn problem(error: KeyError) -> Problem {
    match error {
        KeyError::Database(error) => Problem::Database(error),
        unknown @ KeyError::Unknown(_) => Problem::NotFound(unknown.to_string()),
        revoked @ KeyError::Revoked(_) => Problem::Conflict(revoked.to_string()),
        wrong => Problem::Address(wrong.to_string()),
    }
}

/// The page that shows a secret, this once.
fn shown(person: &Person, key: &KeyText, expires_at: DateTime<Utc>, now: DateTime<Utc>) -> Html<String> {
    let content = html! {
        h1 { "A new secret" }
        p { "Key " span.id { (key.id) } ", until " (parts::moment(expires_at)) "." }
        p { strong { "It is shown this once." } " Keep it where the program keeps its secrets; we have only its hash." }
        pre { (key.text()) }
        p { a href="/keys" { "Back to the keys" } }
    };
    let frame = Frame { title: "A new secret", place: Place::Keys, now: Some(now), person: Some(person) };
    layout::page(&frame, &content)
}

fn content(keys: &[KeyLine], person: &Person, now: DateTime<Utc>) -> Markup {
    html! {
        h1 { "Keys" }
        p { "Programs use the API with these. A revoked key ends within a second; a rotated one has two secrets until its overlap is over." }
        (acting::act(person, "/keys", "Make a key", false, &form()))
        @if keys.is_empty() {
            p { "No keys yet. Make one above, or with " code { "amzigo keys create --help" } "." }
        } @else {
            (table(keys, person, now))
        }
    }
}

fn form() -> Markup {
    html! {
        label { "Owner: the program that will have it"
            input name="owner" required maxlength="40" pattern="[a-z][a-z0-9._\\-]*" autocomplete="off" placeholder="platform.orders";
        }
        fieldset {
            legend { "It may" }
            @for scope in Scope::ALL {
                label { input type="checkbox" name=(scope) value="on"; " " (scope) }
            }
        }
        label { "Kinds, with commas between; empty for all"
            input name="kinds" autocomplete="off" placeholder="sync_orders, sync_inventory";
        }
        label { "Days until it expires"
            input name="days" type="number" required min="1" max="365" value=(keys::LIFETIME.num_days());
        }
        label { "Requests a second"
            input name="rate" type="number" required min="1" max=(keys::MOST) value=(keys::RATE);
        }
        label { "Requests at once"
            input name="burst" type="number" required min="1" max=(keys::MOST) value=(keys::BURST);
        }
    }
}

fn table(keys: &[KeyLine], person: &Person, now: DateTime<Utc>) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Keys" {
            table {
                thead { tr {
                    th scope="col" { "owner" }
                    th scope="col" { "key" }
                    th scope="col" { "state" }
                    th scope="col" { "may" }
                    th scope="col" { "kinds" }
                    th scope="col" { "limit" }
                    th scope="col" { "made" }
                    th scope="col" { "expires" }
                    th scope="col" { "last used" }
                    th scope="col" { "change" }
                } }
                tbody { @for key in keys { (row(key, person, now)) } }
            }
        }
    }
}

fn row(key: &KeyLine, person: &Person, now: DateTime<Utc>) -> Markup {
    let state = key.state(now);
    let overlap = html! {
        label { "Hours that the secret before goes on"
            input name="hours" type="number" required min="0" max="8760" value=(keys::OVERLAP.num_hours());
        }
    };
    html! {
        tr {
            td { (key.owner) }
            td.target { span.id { (key.id) } }
            td {
                (parts::state(state.name()))
                @if let Some(until) = key.overlap_until { " two secrets until " (parts::moment(until)) }
            }
            td { (key.scopes.join(", ")) }
            td { @if let Some(kinds) = &key.kinds { (kinds.join(", ")) } @else { "all" } }
            td { (key.rate_per_second) "/s, " (key.burst) " at once" }
            td { (parts::age(key.created_at, now)) " by " (key.made_by) }
            td { (parts::age(key.expires_at, now)) }
            td { @if let Some(at) = key.last_used_at { (parts::age(at, now)) } @else { "never" } }
            td {
                @if state != KeyState::Revoked {
                    (acting::act(person, &format!("/keys/{}/rotate", key.id), "Rotate", false, &overlap))
                    (acting::act(person, &format!("/keys/{}/revoke", key.id), "Revoke", true, &html! {}))
                }
            }
        }
    }
}
