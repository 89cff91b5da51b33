//! `/sellers`: how fresh each seller's data are.

use axum::{extract::State, response::Html};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use crate::{
    auth::Person,
    console::Console,
    ops::freshness::{self, Freshness},
    pages::{
        layout::{self, Frame, Place},
        parts,
        problem::Problem,
    },
};

/// More sellers than this are not listed on one page.
const MOST: usize = 500;
/// One more than that, which shows that there are more.
const ASKED_FOR: i64 = 501;

pub(super) async fn page(State(console): State<Console>, person: Person) -> Result<Html<String>, Problem> {
    let mut connection = console.pool.acquire().await?;
    let found = freshness::of(&mut connection, None, ASKED_FOR).await?;
    let now = console.engine.clock().now();
    let content = html! {
        h1 { "Sellers" }
        p { "How old our copy of each data set is: everything that Amazon told until then is stored." }
        @if found.is_empty() {
            p { "No seller is connected: " code { "amzigo sellers connect --help" } }
        } @else {
            (table(&found[..found.len().min(MOST)], now))
            @if found.len() > MOST {
                p { "These are the first " (MOST) "; all: " code { "amzigo sellers data" } }
            }
        }
    };
    let frame = Frame { title: "Sellers", place: Place::Sellers, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content))
}

fn table(found: &[Freshness], now: DateTime<Utc>) -> Markup {
    let age = |at: Option<DateTime<Utc>>| html! { @if let Some(at) = at { (parts::age(at, now)) } @else { "not yet" } };
    html! {
        div.scroll tabindex="0" role="region" aria-label="Sellers" {
            table {
                thead { tr {
                    th scope="col" { "seller" }
                    th scope="col" { "orders" }
                    th scope="col" { "order history" }
                    th scope="col" { "stock" }
                    th scope="col" { "listings" }
                    th scope="col" { "sales" }
                    th scope="col" { "sells in" }
                    th scope="col" { "review requests" }
                } }
                tbody {
                    @for seller in found {
                        tr {
                            td { a.id href={ "/sellers/" (seller.seller) } { (seller.seller) } }
                            td { (age(seller.orders)) }
                            td {
                                progress max="100" value=(format!("{:.0}", seller.order_history_part * 100.0)) {}
                                " " (format!("{:.0} %", seller.order_history_part * 100.0))
                            }
                            td { (age(seller.inventory)) }
                            td { (age(seller.listings)) }
                            td { (age(seller.performance)) }
                            td { (age(seller.participations)) }
                            td { (seller.review_requests_sent) " sent, " (seller.review_requests_open) " open" }
                        }
                    }
                }
            }
        }
    }
}
