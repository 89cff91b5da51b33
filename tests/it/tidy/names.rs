//! Files are called after what they hold, say what they are for, and hold one thing.

use jobs::catalog::CATALOG;

use super::{files, refuse};

/// Names that say nothing: whatever has no place ends up behind them.
const SAYS_NOTHING: [&str; 9] =
    ["mod", "util", "utils", "common", "types", "helper", "helpers", "misc", "shared"];

/// A file with more lines of code than this is two things.
const MOST_LINES: usize = 400;

#[test]
fn names_say_what_a_file_holds() {
    let complaints: Vec<_> = files(".", &["rs"]).iter().flat_map(|(path, _)| empty_names(path)).collect();
    refuse(
        &complaints,
        "Call it after what it holds; `name.rs` beside the folder `name/` instead of `mod.rs`.",
    );
}

fn empty_names(path: &str) -> Option<String> {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let part = stem.split('/').find(|part| SAYS_NOTHING.contains(part))?;
    Some(format!("{path}: `{part}` says nothing"))
}

#[test]
fn every_file_says_what_it_is_for() {
    let complaints: Vec<_> = files(".", &["rs"])
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path)
        .collect();
    refuse(
        &complaints,
        "Start the file with `//!`: what it does, when, why repeating is safe, what it does not promise.",
    );
}

#[test]
fn no_file_is_two_things() {
    let complaints: Vec<_> = files(".", &["rs"])
        .iter()
        .map(|(path, text)| (path, lines_of_code(text)))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(path, lines)| format!("{path} has {lines} lines of code"))
        .collect();
    refuse(
        &complaints,
        &format!("Split a file of more than {MOST_LINES} lines by what its parts are responsible for."),
    );
}

/// Lines that are neither empty, nor comments, nor in the tests at the end.
fn lines_of_code(text: &str) -> usize {
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

#[test]
fn a_kind_is_the_file_of_its_name() {
    let mut kinds: Vec<_> = CATALOG.iter().map(|kind| format!("jobs/src/kinds/{}.rs", kind.name)).collect();
    kinds.sort();
    let present: Vec<_> = files("jobs/src/kinds", &["rs"]).into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        present, kinds,
        "each file of jobs/src/kinds is one kind of jobs/src/catalog.rs, and each kind is the file of its name"
    );
}

#[test]
fn a_name_that_says_nothing_is_found() {
    assert_eq!(empty_names("queue/src/ledger.rs"), None);
    for path in ["queue/src/util.rs", "queue/src/types/job.rs", "queue/src/ledger/mod.rs"] {
        assert!(empty_names(path).is_some(), "{path}");
    }
}

#[test]
fn only_code_is_counted() {
    let text = "//! What for.\n\nuse std::fs;\n// Why.\nfn main() {}\n\n#[cfg(test)]\nmod tests {\n    fn test() {}\n}\n";
    assert_eq!(lines_of_code(text), 2);
}
