//! `cargo xtask check`: what must be green before a review. Needs no services and changes nothing.

use std::process::{Command, ExitCode};

use xtask::process::{Forward, on_path, run as run_command};

use crate::Ended;
use crate::session::{Session, say, say_done, say_failed};

pub(crate) const HELP: &str = "\
Usage: cargo xtask check

Formatting, clippy and rustdoc without warnings, the tidy tests (house rules that a test can see), and cargo-deny (licences, bans,
sources) where it is installed. All of them run, even when one fails; a summary comes last.

Examples:
  cargo xtask check
  cargo fmt --all && cargo xtask check";

/// The tests that look at the sources instead of running them.
const TIDY: &str = "tidy::";

/// How a step ended.
enum Outcome {
    Good,
    Bad,
    Skipped(&'static str),
}

pub(crate) fn run(session: &Session, _: &[String]) -> Ended {
    let mut rustdoc =
        session.cargo(&["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"]);
    rustdoc.env("RUSTDOCFLAGS", "-Dwarnings");
    let deny =
        on_path("cargo-deny").map(|_| session.cargo(&["deny", "check", "licenses", "bans", "sources"]));
    let steps: [(&str, Option<Command>); 5] = [
        ("formatting", Some(session.cargo(&["fmt", "--all", "--check"]))),
        (
            "clippy",
            Some(session.cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ])),
        ),
        ("rustdoc", Some(rustdoc)),
        ("tidy", Some(session.cargo(&["test", "--package", "tests", "--tests", "--locked", TIDY]))),
        ("cargo-deny", deny),
    ];
    let mut outcomes = Vec::new();
    for (name, command) in steps {
        let outcome = match command {
            Some(mut command) => {
                say(name);
                let status = run_command(&mut command, &session.interrupts, Forward::ToGroup)?;
                session.interrupts.check()?;
                if status.success() { Outcome::Good } else { Outcome::Bad }
            }
            None => Outcome::Skipped("not installed: cargo install --locked cargo-deny"),
        };
        outcomes.push((name, outcome));
    }
    for (name, outcome) in &outcomes {
        match outcome {
            Outcome::Good => say_done(&format!("{name}: good")),
            Outcome::Bad => say_failed(&format!("{name}: FAILED, see above")),
            Outcome::Skipped(why) => say(&format!("{name}: skipped ({why})")),
        }
    }
    let red = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Bad));
    Ok(if red { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
