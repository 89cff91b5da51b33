//! `docs/AMAZON.md` lists what we call at Amazon, as the closed list in the code says.

use jobs::sp_api::{
    Operation,
    operations::{APPLICATION_PLANS, Caller, PLANS, UsagePlan},
};

use super::{equal, markdown, read, section};

const DOCUMENT: &str = "docs/AMAZON.md";

#[test]
fn the_page_lists_every_operation() {
    let text = read(DOCUMENT);
    equal(DOCUMENT, section(DOCUMENT, &text, "operations"), &render());
}

/// Where the numbers are from, and of which day they are.
#[test]
fn the_page_names_the_sources_of_the_plans() {
    let text = read(DOCUMENT);
    equal(DOCUMENT, section(DOCUMENT, &text, "sources"), &sources());
}

fn sources() -> String {
    let rows = [("calls per second / burst", PLANS), ("of all sellers together", APPLICATION_PLANS)]
        .map(|(column, source)| vec![column.to_owned(), source.document.to_owned(), source.date.to_owned()]);
    markdown(&["column", "source", "of"], &rows)
}

fn render() -> String {
    let rows: Vec<_> = Operation::ALL
        .into_iter()
        .map(|operation| {
            let entry = operation.entry();
            let roles: Vec<_> = entry.roles.iter().map(|role| role.name()).collect();
            let serves = match entry.caller {
                Caller::Seller => "a seller",
                Caller::Application(_) => "our application",
            };
            let plan = |plan: UsagePlan| format!("{} / {}", plan.rate, plan.burst);
            vec![
                format!("`{}`", entry.name),
                format!("`{} {}`", entry.method, entry.path),
                entry.why.to_owned(),
                serves.to_owned(),
                roles.join(", "),
                plan(entry.plan),
                entry.application_plan.map_or_else(|| "–".to_owned(), plan),
            ]
        })
        .collect();
    markdown(
        &[
            "operation",
            "request",
            "why we call it",
            "serves",
            "any one of these roles",
            "calls per second / burst",
            "of all sellers together",
        ],
        &rows,
    )
}
