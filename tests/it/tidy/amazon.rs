//! `docs/AMAZON.md` lists what we call at Amazon, as the closed list in the code says.

use jobs::sp_api::Operation;

use super::{equal, markdown, read, section};

const DOCUMENT: &str = "docs/AMAZON.md";

#[test]
fn the_page_lists_every_operation() {
    let text = read(DOCUMENT);
    equal(DOCUMENT, section(DOCUMENT, &text, "operations"), &render());
}

fn render() -> String {
    let rows: Vec<_> = Operation::ALL
        .into_iter()
        .map(|operation| {
            let entry = operation.entry();
            let roles: Vec<_> = entry.roles.iter().map(|role| role.name()).collect();
            vec![
                format!("`{}`", entry.name),
                format!("`{} {}`", entry.method, entry.path),
                entry.why.to_owned(),
                roles.join(", "),
                format!("{} / {}", entry.plan.rate, entry.plan.burst),
            ]
        })
        .collect();
    markdown(
        &["operation", "request", "why we call it", "any one of these roles", "calls per second / burst"],
        &rows,
    )
}
