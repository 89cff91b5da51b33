//! `cargo xtask test`: services, binaries, then every test. Needs no network once the packages are there.

use std::process::ExitCode;

use xtask::process::succeed;

use crate::Ended;
use crate::session::{Session, say, tell};

pub(crate) const HELP: &str = "\
Usage: cargo xtask test [ARGUMENTS OF cargo test]

Gets Redis and Postgres as `cargo xtask services start` does, builds the binaries that the end-to-end tests start, and runs `cargo test
--workspace --locked` with REDIS_URL and DATABASE_URL set. Services that were started for it are stopped at the end.

Examples:
  cargo xtask test                        # everything
  cargo xtask test -p queue budgets       # the tests of one crate whose names contain `budgets`
  cargo xtask test -p tests -- --nocapture";

pub(crate) fn run(session: &Session, arguments: &[String]) -> Ended {
    let services = session.services();
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
    succeed(&mut command, &session.interrupts)?;
    lease.give_back()?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the arguments choose packages: cargo would take `--workspace` as the stronger wish and run everything.
fn names_a_package(arguments: &[String]) -> bool {
    arguments
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word.starts_with("-p") || word.starts_with("--package"))
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
}
