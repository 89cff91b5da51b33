//! `/amazon`: what we call at Amazon, and why, made from the closed list that the client obeys.

use axum::response::Html;
use jobs::sp_api::{
    Operation,
    operations::{APPLICATION_PLANS, Caller, PLANS},
};
use maud::html;

use crate::{
    auth::Person,
    pages::layout::{self, Frame, Place},
};

pub(super) async fn page(person: Person) -> Html<String> {
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
        p {
            "Usage plans: " (PLANS.document) ", " (PLANS.date) ". Limits for all sellers: " (APPLICATION_PLANS.document) ", "
            (APPLICATION_PLANS.date) ". What Amazon tells with its answers goes before both: "
            code { "amzigo budgets" } " shows what is in force."
        }
    };
    let frame = Frame { title: "Amazon", place: Place::Amazon, now: None, person: Some(&person) };
    layout::page(&frame, &content)
}
