//! The frame around every page.

use axum::response::Html;
use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, html};

/// Which entry of the navigation a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Jobs,
    Dead,
    Sellers,
    Amazon,
    Nowhere,
}

/// A whole page. `now` is shown as its age; without one, the page does not say.
pub(super) fn page(title: &str, place: Place, now: Option<DateTime<Utc>>, content: &Markup) -> Html<String> {
    let entry = |of: Place, href: &str, name: &str| {
        html! { a href=(href) aria-current=[(of == place).then_some("page")] { (name) } }
    };
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
                script src="/console.js" defer {}
            }
            body {
                a.skip href="#content" { "Skip to content" }
                header {
                    span.brand { "Amzigo" }
                    nav aria-label="Pages" {
                        (entry(Place::Overview, "/", "Overview"))
                        (entry(Place::Jobs, "/jobs", "Jobs"))
                        (entry(Place::Dead, "/jobs?state=dead", "Dead letters"))
                        (entry(Place::Sellers, "/sellers", "Sellers"))
                        (entry(Place::Amazon, "/amazon", "Amazon"))
                    }
                    span #freshness { @if let Some(now) = now { (now.format("%H:%M:%S UTC")) } }
                }
                main #content tabindex="-1" { (content) }
            }
        }
    };
    Html(page.into_string())
}
