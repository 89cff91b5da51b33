//! `cargo xtask test`: services, binaries, then every test. Needs no network once the packages are there.

use std::process::ExitCode;

use xtask::process::succeed;

use crate::Ended;
use crate::session::{Session, say, tell, tell_tools};

pub(crate) const HELP: &str = "\
Usage: cargo xtask test [--without-tools] [ARGUMENTS OF cargo test]

Gets Redis and Postgres as `cargo xtask services start` does, and what else end-to-end tests need as `cargo xtask tools` does (a browser,
node, Python, curl), builds the binaries that those tests start, and runs `cargo test --workspace --locked` with variables that say
where all this is. Services that were started for it are stopped at the end. The tests of a named crate other than `tests` need no tools.

  --without-tools  install no tools; the tests that need one say that they did not run

Examples:
  cargo xtask test                        # everything
  cargo xtask test -p queue budgets       # the tests of one crate whose names contain `budgets`
  cargo xtask test -p tests -- --nocapture";

const WITHOUT_TOOLS: &str = "--without-tools";

pub(crate) fn run(session: &Session, arguments: &[String]) -> Ended {
    let services = session.services();
    let without_tools = arguments.first().is_some_and(|word| word == WITHOUT_TOOLS);
    let arguments = if without_tools { &arguments[1..] } else { arguments };
    let tools = session.tools();
    if !without_tools && runs_end_to_end_tests(arguments) {
        tools.install()?;
    }
    let lease = services.lease()?;
    session.interrupts.check()?;
    // The end-to-end tests start real processes, which `cargo test` alone builds only for the crate they belong to.
    say("building the binaries");
    succeed(&mut session.cargo(&["build", "--workspace", "--bins", "--locked"]), &session.interrupts)?;
    say("running the tests");
    let mut command = session.cargo(&["test", "--locked"]);
    if !names_a_package(arguments) {
        command.arg("--workspace");
    }
    command.args(arguments);
    tell(&mut command, lease.urls());
    tell_tools(&mut command, &tools);
    succeed(&mut command, &session.interrupts)?;
    lease.give_back()?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the arguments choose packages: cargo would take `--workspace` as the stronger wish and run everything.
fn names_a_package(arguments: &[String]) -> bool {
    !packages(arguments).is_empty()
}

/// Whether the tests of the crate `tests` are among those that are chosen.
fn runs_end_to_end_tests(arguments: &[String]) -> bool {
    let packages = packages(arguments);
    packages.is_empty() || packages.contains(&"tests")
}

/// The packages that the arguments choose.
fn packages(arguments: &[String]) -> Vec<&str> {
    let mut words = arguments.iter().map(String::as_str).take_while(|word| *word != "--");
    let mut packages = Vec::new();
    while let Some(word) = words.next() {
        let name = match word.strip_prefix("--package").or_else(|| word.strip_prefix("-p")) {
            Some("") => words.next().unwrap_or_default(),
            Some(name) => name.trim_start_matches('='),
            None => continue,
        };
        packages.push(name);
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_chosen_before_the_dashes_only() {
        let chosen =
            |text: &str| names_a_package(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        for line in ["-p queue budgets", "-pqueue", "--package queue", "--package=queue", "--lib -p queue"] {
            assert!(chosen(line), "{line}");
        }
        for line in ["", "budgets", "-- -p", "--release"] {
            assert!(!chosen(line), "{line}");
        }
    }

    #[test]
    fn only_end_to_end_tests_need_tools() {
        let chosen = |text: &str| {
            runs_end_to_end_tests(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        };
        for line in ["", "budgets", "-p tests", "-ptests browser", "--package=tests", "-p queue -p tests"] {
            assert!(chosen(line), "{line}");
        }
        for line in ["-p queue", "-p queue tests", "--package console -- tests"] {
            assert!(!chosen(line), "{line}");
        }
    }
}
