//! On-call finds a runbook for each kind, and for each line of the log that says that somebody must act.

use jobs::catalog::CATALOG;

use super::{files, read, refuse, root};

#[test]
fn every_kind_has_a_runbook_and_names_it() {
    let complaints: Vec<_> = CATALOG
        .iter()
        .flat_map(|kind| {
            let runbook = format!("deploy/runbooks/{}.md", kind.name);
            let missing = (!root().join(&runbook).exists()).then(|| format!("{runbook} is missing"));
            let source = read(&format!("jobs/src/kinds/{}.rs", kind.name));
            let unnamed =
                (!source.contains(&runbook)).then(|| format!("{} does not name {runbook}", kind.name));
            [missing, unnamed].into_iter().flatten()
        })
        .collect();
    refuse(&complaints, "On-call reads it at three in the morning: symptoms, commands, decisions.");
}

#[test]
fn every_error_in_the_log_has_a_runbook() {
    let runbooks: String = files("deploy/runbooks", &["md"]).into_iter().map(|(_, text)| text).collect();
    let complaints: Vec<_> = files(".", &["rs"])
        .iter()
        .filter(|(path, _)| path.contains("/src/") && !path.starts_with("tests/"))
        .flat_map(|(path, text)| messages(text).into_iter().map(move |message| (path, message)))
        .filter(|(_, message)| !has_runbook(&runbooks, message))
        .map(|(path, message)| format!("{path}: \"{message}\""))
        .collect();
    refuse(
        &complaints,
        "A line at level error means that somebody must act: add it to deploy/runbooks/errors_in_the_log.md, or log a warning.",
    );
}

/// A runbook quotes the message in backticks, whole or its beginning.
fn has_runbook(runbooks: &str, message: &str) -> bool {
    runbooks.split('`').skip(1).step_by(2).any(|quoted| quoted.len() >= 8 && message.starts_with(quoted))
}

/// The message of each `tracing::error!`: the last text in it.
fn messages(source: &str) -> Vec<&str> {
    source
        .split("tracing::error!(")
        .skip(1)
        .filter_map(|rest| {
            let call = rest.split_inclusive(")").scan(0_i32, |open, part| {
                (*open >= 0).then(|| {
                    *open += i32::try_from(part.matches('(').count()).unwrap_or(i32::MAX) - 1;
                    part.len()
                })
            });
            let call = &rest[..call.sum::<usize>()];
            let end = call.rfind('"')?;
            let start = call[..end].rfind('"')?;
            Some(&call[start + 1..end])
        })
        .collect()
}

#[test]
fn the_message_of_an_error_is_found() {
    let source = concat!(
        "tracing::err",
        "or!(job.id = %id, took = \"x\".len(), error = chain(error.as_ref()), \"gave up\"); warn!(\"other\")"
    );
    assert_eq!(messages(source), ["gave up"]);
    assert!(has_runbook("| `dropped an entry` | x |", "dropped an entry that is not a job"));
    assert!(!has_runbook("| `dropped an entry` | x |", "gave up"));
}
