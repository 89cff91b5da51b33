//! Rules that the compiler does not know: which crate may see which, names, documents that stay true.
//!
//! They read the sources and run nothing; a failure lists every place and says what to do about it. Where a rule parses
//! text, it is a function from text to complaints with tests of its own, so that a rule that no longer finds anything is
//! noticed.

mod amazon;
mod documents;
mod edges;
mod environment;
mod leftovers;
mod migrations;
mod names;
mod new_kind;
mod resolved;
mod runbooks;
mod scripts;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders that hold no source of ours.
const NOT_OURS: [&str; 3] = ["target", "node_modules", ".git"];

/// The checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the crate lies in the workspace")
}

/// A file of the checkout by its path from the root.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
}

/// Every file with one of these endings below a folder, as its path from the root and its text, in a steady order.
pub(crate) fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let root = root();
    let mut paths = Vec::new();
    collect(&root.join(folder), endings, &mut paths);
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).expect("it was found below the root").display().to_string();
            let text = read(&name);
            (name, text)
        })
        .collect()
}

fn collect(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("the folder can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !NOT_OURS.contains(&name.as_str()) {
                collect(&path, endings, found);
            }
        } else if path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known)) {
            found.push(path);
        }
    }
}

/// Fails with every complaint, and with what to do about them.
fn refuse(complaints: &[String], advice: &str) {
    assert!(complaints.is_empty(), "\n  {}\n{advice}\n", complaints.join("\n  "));
}

/// Fails with the right text when a document is not what the code says.
fn equal(document: &str, written: &str, right: &str) {
    let advice = "replace the present text by:";
    assert!(written.trim() == right.trim(), "\n{document} is not what the code says; {advice}\n\n{right}\n");
}

/// What stands between a document's `<!-- begin NAME -->` and `<!-- end NAME -->`.
fn section<'a>(document: &str, text: &'a str, name: &str) -> &'a str {
    let (begin, end) = (format!("<!-- begin {name} -->"), format!("<!-- end {name} -->"));
    text.split_once(&begin)
        .and_then(|(_, rest)| rest.split_once(&end))
        .map(|(inside, _)| inside)
        .unwrap_or_else(|| panic!("{document} has no section between `{begin}` and `{end}`"))
}

/// A table as Markdown.
fn markdown(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<_> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rule: Vec<_> = head.iter().map(|_| "---".to_owned()).collect();
    let mut table = line(&head) + &line(&rule);
    for row in rows {
        table.push_str(&line(row));
    }
    table
}
