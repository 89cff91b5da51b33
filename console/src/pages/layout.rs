//! The frame around every page.

use axum::response::Html;
use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, html};

use crate::auth::{Permission, Person};

/// Which entry of the navigation a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Queues,
    Kinds,
    Workers,
    Jobs,
    Dead,
    Schedules,
    Deadlines,
    Sellers,
    Amazon,
    Bulk,
    Audit,
    Keys,
    Reliability,
    People,
    Nowhere,
}

/// An entry of the navigation, and who needs it.
struct Entry(Place, &'static str, &'static str, Permission);

/// In the order they are shown.
const ENTRIES: &[Entry] = &[
    Entry(Place::Overview, "/", "Overview", Permission::View),
    Entry(Place::Queues, "/queues", "Queues", Permission::View),
    Entry(Place::Kinds, "/kinds", "Kinds", Permission::View),
    Entry(Place::Workers, "/workers", "Workers", Permission::View),
    Entry(Place::Jobs, "/jobs", "Jobs", Permission::View),
    Entry(Place::Dead, "/dead", "Dead letters", Permission::View),
    Entry(Place::Schedules, "/schedules", "Schedules", Permission::View),
    Entry(Place::Deadlines, "/deadlines", "Deadlines", Permission::View),
    Entry(Place::Sellers, "/sellers", "Sellers", Permission::View),
    Entry(Place::Amazon, "/amazon", "Amazon", Permission::View),
    Entry(Place::Bulk, "/bulk", "Bulk", Permission::View),
    Entry(Place::Reliability, "/reliability", "Reliability", Permission::View),
    Entry(Place::Audit, "/audit", "Audit", Permission::ReadAudit),
    Entry(Place::Keys, "/keys", "Keys", Permission::Administer),
    Entry(Place::People, "/people", "People", Permission::Administer),
];

/// Which letter leads to a page, after `g`.
const LETTERS: &[(&str, &str)] = &[
    ("/", "o"),
    ("/queues", "q"),
    ("/kinds", "k"),
    ("/workers", "w"),
    ("/jobs", "j"),
    ("/dead", "d"),
    ("/schedules", "h"),
    ("/deadlines", "l"),
    ("/sellers", "s"),
    ("/amazon", "a"),
    ("/bulk", "b"),
    ("/reliability", "r"),
    ("/audit", "u"),
    ("/keys", "e"),
    ("/people", "p"),
];

/// What keys do beside leading to pages.
const KEYS: &[(&str, &str)] = &[
    ("/", "find a job"),
    ("j", "next row"),
    ("k", "previous row"),
    ("Enter", "open the row's job"),
    (
        "R, D, P …",
        "open the form of the button that begins with this letter, in the row or on the page; nothing is done before you give a reason",
    ),
    ("Esc", "leave a field, close a form"),
    ("?", "these keys"),
];

fn letter(href: &str) -> Option<&'static str> {
    LETTERS.iter().find(|(page, _)| *page == href).map(|(_, letter)| *letter)
}

/// What a page says about itself.
pub(super) struct Frame<'p> {
    /// Its name.
    pub(super) title: &'p str,
    /// Where it belongs.
    pub(super) place: Place,
    /// When it was read: shown as its age.
    pub(super) now: Option<DateTime<Utc>>,
    /// Who reads it.
    pub(super) person: Option<&'p Person>,
}

/// A whole page.
pub(super) fn page(frame: &Frame<'_>, content: &Markup) -> Html<String> {
    let may = |permission| frame.person.is_some_and(|person| person.may(permission));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (frame.title) " · Amzigo" }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/console.css";
                script src="/console.js" defer {}
            }
            body {
                a.skip href="#content" { "Skip to content" }
                header {
                    span.brand { "Amzigo" }
                    nav aria-label="Pages" {
                        @for &Entry(place, href, name, permission) in ENTRIES {
                            @if may(permission) {
                                a href=(href) data-key=[letter(href)] aria-current=[(place == frame.place).then_some("page")] { (name) }
                            }
                        }
                    }
                    div.state-of-page {
                        span #freshness title="When this page was read" { @if let Some(now) = frame.now { (now.format("%H:%M:%S UTC")) } }
                    }
                    @if let Some(person) = frame.person {
                        button #help type="button" hidden aria-haspopup="dialog" { "Keys " kbd { "?" } }
                        a.person href="/account" { (person.name) }
                        (sign_out(person))
                    }
                }
                p #notice role="status" hidden {}
                @if frame.person.is_some() { (keys(&may)) }
                main #content tabindex="-1" { (content) }
            }
        }
    };
    Html(page.into_string())
}

/// Leaving is a button, because it changes something.
fn sign_out(person: &Person) -> Markup {
    html! {
        form.sign-out method="post" action="/sign-out" {
            input type="hidden" name="csrf" value=(person.csrf.text());
            button { "Sign out" }
        }
    }
}

/// A page with one thing to do, which no script exchanges: what stands on it may not come a second time. `person` can leave.
pub(super) fn alone(title: &str, person: Option<&Person>, content: &Markup) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Amzigo" }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/console.css";
                link rel="stylesheet" href="/sign_in.css";
                script src="/sign_in.js" defer {}
            }
            body.alone {
                header {
                    span.brand { "Amzigo" }
                    @if let Some(person) = person {
                        span.person { (person.name) }
                        (sign_out(person))
                    }
                }
                main #content { h1 { (title) } (content) }
            }
        }
    };
    Html(page.into_string())
}

/// All keys, shown by `?`.
fn keys(may: &dyn Fn(Permission) -> bool) -> Markup {
    html! {
        dialog #keys aria-labelledby="keys-title" {
            form method="dialog" {
                h2 #keys-title { "Keys" }
                div.columns {
                    dl {
                        @for (keys, what) in KEYS { dt { kbd { (keys) } } dd { (what) } }
                    }
                    dl {
                        @for Entry(_, href, name, permission) in ENTRIES {
                            @if may(*permission) && let Some(letter) = letter(href) {
                                dt { kbd { "g" } " " kbd { (letter) } } dd { (name) }
                            }
                        }
                    }
                }
                button { "Close" }
            }
        }
    }
}
