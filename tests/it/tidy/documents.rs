//! Documents that say what the code says: the table of kinds, the metrics, links that lead somewhere.

use std::path::Path;

use jobs::catalog::CATALOG;

use super::{equal, files, markdown, read, refuse, root, section};

/// Names files that `cargo xtask new-kind` will write.
const TEMPLATES: &str = "xtask/src/new_kind";

#[test]
fn the_table_of_kinds_is_the_catalog() {
    let text = read("README.md");
    equal("README.md", section("README.md", &text, "kinds"), &kinds());
}

fn kinds() -> String {
    let rows: Vec<_> = CATALOG
        .iter()
        .map(|kind| {
            let schedule = kind.schedule.map_or_else(
                || "on request".to_owned(),
                |schedule| {
                    let minutes = schedule.spread.as_secs() / 60;
                    let spread = match minutes {
                        0 => String::new(),
                        whole if whole % 60 == 0 => format!(", spread over {} h", whole / 60),
                        minutes => format!(", spread over {minutes} min"),
                    };
                    format!("`{}` {}{spread}", schedule.expression, schedule.time_zone)
                },
            );
            vec![format!("`{}`", kind.name), kind.policy.queue.to_string(), schedule, kind.summary.to_owned()]
        })
        .collect();
    markdown(&["kind", "queue", "schedule", "what it does"], &rows)
}

/// What people copy from the README is what the tests run.
#[test]
fn the_examples_of_enqueueing_are_the_files() {
    let text = read("README.md");
    let examples = files("jobs/examples", &["sh", "sql", "rs", "py", "ts"]);
    assert_eq!(examples.len(), 5, "curl, SQL, Rust, Python, TypeScript");
    for (path, example) in &examples {
        let name = path.trim_start_matches("jobs/examples/");
        let language = match name.rsplit('.').next() {
            Some("rs") => "rust",
            Some("py") => "python",
            other => other.unwrap_or_default(),
        };
        let right = format!("```{language}\n{example}```");
        equal("README.md", section("README.md", &text, name), &right);
    }
}

#[test]
fn every_metric_is_explained() {
    let page = read("docs/LOGGING.md");
    let complaints: Vec<_> = files(".", &["rs"])
        .iter()
        .filter(|(path, _)| path.contains("/src/"))
        .flat_map(|(path, text)| metrics(text).into_iter().map(move |metric| (path, metric)))
        .filter(|(_, metric)| !page.contains(&format!("`{metric}`")))
        .map(|(path, metric)| format!("{path}: {metric}"))
        .collect();
    refuse(
        &complaints,
        "Add it to the table of metrics in docs/LOGGING.md: its labels, and what it counts or measures.",
    );
}

/// Names of the metrics that a source records.
fn metrics(source: &str) -> Vec<&str> {
    ["counter!(", "histogram!(", "gauge!("]
        .into_iter()
        .flat_map(|call| source.split(call).skip(1))
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split_once('"').map(|(name, _)| name))
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let complaints: Vec<_> = files(".", &["md"])
        .iter()
        .filter(|(path, _)| !path.starts_with(TEMPLATES))
        .flat_map(|(path, text)| {
            let folder = root().join(path).parent().map(Path::to_owned).unwrap_or_default();
            links(text)
                .into_iter()
                .filter(|link| !folder.join(link.split('#').next().unwrap_or_default()).exists())
                .map(|link| format!("{path} -> {link}"))
                .collect::<Vec<_>>()
        })
        .collect();
    refuse(&complaints, "Correct the link, relative to the file it stands in.");
}

/// Files of ours that code or prose names must be there too.
#[test]
fn named_files_exist() {
    let complaints: Vec<_> = files(".", &["md", "rs", "toml"])
        .iter()
        .filter(|(path, _)| !path.starts_with(TEMPLATES))
        .flat_map(|(path, text)| {
            named_files(text)
                .into_iter()
                .filter(|named| !root().join(named).exists())
                .map(|named| format!("{path} names {named}"))
                .collect::<Vec<_>>()
        })
        .collect();
    refuse(&complaints, "Name the file as it is called now, by its path from the root.");
}

/// Targets of Markdown links that are not addresses.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .collect()
}

/// Paths below `docs/` and `deploy/`, without those that stand for many (`runbooks/<kind>.md`).
fn named_files(text: &str) -> Vec<&str> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/_.-".contains(c);
    text.split(|c: char| !is_path(c))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| word.starts_with("docs/") || word.starts_with("deploy/"))
        .filter(|word| word.ends_with(".md") || word.ends_with(".yaml") || word.ends_with(".example"))
        .collect()
}

#[test]
fn a_metric_is_found() {
    let source = concat!("metrics::coun", "ter!(\n    \"runs_total\", \"kind\" => kind).increment(1)");
    assert_eq!(metrics(source), ["runs_total"]);
}

#[test]
fn a_broken_link_is_found() {
    assert_eq!(links("see [a](A.md#part) and [b](https://a.example/b) and [c](#c)"), ["A.md#part"]);
    assert_eq!(
        named_files(
            "In dead letters: deploy/runbooks/sync_orders.md. See `docs/LOGGING.md`; deploy/runbooks/<kind>.md"
        ),
        ["deploy/runbooks/sync_orders.md", "docs/LOGGING.md"]
    );
}
