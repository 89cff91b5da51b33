//! Arrows go one way: which crate may name which, and who may name the worker runtime.

use std::process::Command;

use serde_json::Value;

use super::{files, refuse, root};

/// What each crate may use when it runs, from the left to the right of the one arrow; what is not here may use nothing of
/// ours.
const MAY_USE: [(&str, &[&str]); 6] = [
    ("queue", &["runtime"]),
    ("jobs", &["queue", "runtime"]),
    ("worker", &["jobs", "queue", "runtime"]),
    ("scheduler", &["jobs", "queue", "runtime"]),
    ("console", &["jobs", "queue", "runtime"]),
    // Plays all sides of a day, without any process.
    ("simulation", &["jobs", "queue", "runtime"]),
];

/// What a crate's own tests may use beside that.
const TESTS_MAY_USE: [(&str, &[&str]); 2] = [("queue", &["xtask"]), ("jobs", &["sandbox"])];

/// May see everything: it proves that the parts work together.
const SEES_ALL: &str = "tests";

/// One crate of ours naming another, and whether only its tests do.
#[derive(Debug, PartialEq, Eq)]
struct Edge {
    from: String,
    to: String,
    only_tests: bool,
}

#[test]
fn crates_depend_in_one_direction() {
    refuse(
        &wrong_edges(&edges()),
        "The arrows are runtime <- queue <- jobs <- {scheduler, worker, console}. Move what is shared to the left, or hand it in.",
    );
}

/// The `cargo metadata` of this workspace, without what it depends on.
fn edges() -> Vec<Edge> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("a workspace has packages");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    packages
        .iter()
        .flat_map(|package| {
            let dependencies = package["dependencies"].as_array().into_iter().flatten();
            // Only ours have a path.
            dependencies.filter(|dependency| !dependency["path"].is_null()).map(|dependency| Edge {
                from: text(&package["name"]),
                to: text(&dependency["name"]),
                only_tests: dependency["kind"] == "dev",
            })
        })
        .collect()
}

fn wrong_edges(edges: &[Edge]) -> Vec<String> {
    let listed = |table: &[(&str, &[&str])], edge: &Edge| {
        table.iter().any(|(from, to)| *from == edge.from && to.contains(&edge.to.as_str()))
    };
    edges
        .iter()
        .filter(|edge| edge.from != SEES_ALL && !listed(&MAY_USE, edge))
        .filter(|edge| !(edge.only_tests && listed(&TESTS_MAY_USE, edge)))
        .map(|edge| {
            let how = if edge.only_tests { " for its tests" } else { "" };
            format!("{} uses {}{how}", edge.from, edge.to)
        })
        .collect()
}

#[test]
fn a_wrong_arrow_is_found() {
    let edge =
        |from: &str, to: &str, only_tests| Edge { from: from.to_owned(), to: to.to_owned(), only_tests };
    let edges = [
        edge("queue", "runtime", false),
        edge("jobs", "sandbox", true),
        edge("tests", "sandbox", false),
        edge("queue", "jobs", false),
        edge("worker", "scheduler", true),
        edge("jobs", "sandbox", false),
        edge("runtime", "queue", true),
    ];
    assert_eq!(
        wrong_edges(&edges),
        [
            "queue uses jobs",
            "worker uses scheduler for its tests",
            "jobs uses sandbox",
            "runtime uses queue for its tests"
        ]
    );
}

/// Where apalis may be named: the backend, and the worker that is built over it. Not what the engine is compared with.
const NAMES_APALIS: [&str; 5] = [
    "queue/src/backend.rs",
    "queue/src/fetch.rs",
    "queue/src/settle.rs",
    "worker/src/execute.rs",
    "worker/src/pool.rs",
];

#[test]
fn few_files_name_the_worker_runtime() {
    let mut named: Vec<String> = files(".", &["rs"])
        .into_iter()
        .filter(|(path, text)| {
            let ours = path.contains("/src/") && !path.starts_with("queue/benches/peers/");
            ours && text.contains("apalis_core::") | text.contains("apalis::")
        })
        .map(|(path, _)| path)
        .collect();
    named.sort();
    assert_eq!(
        named, NAMES_APALIS,
        "the engine would be hard to move to another worker runtime: name apalis in these files only"
    );
}
