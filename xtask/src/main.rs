//! `cargo xtask COMMAND`: everything one does with this workspace, from a fresh clone on.
//!
//! Parses the command line and hands over; each command has a file of its own. What people read goes to stderr, so that stdout holds
//! only what was asked for. Exit codes: 0 done, 1 failed, 2 not understood; `demo`, `chaos`, `fuzz` and `usage` end as those end. Repeating any command is safe.

mod built;
mod chaos;
mod check;
mod demo;
mod fuzz;
mod new_kind;
mod prepare;
mod servers;
mod session;
mod simulate;
mod test;
mod toolbox;
mod usage;

use std::env;
use std::error::Error;
use std::process::ExitCode;

use session::Session;

/// How a command ends: with an exit code, or with an error to be told.
type Ended = xtask::Result<ExitCode>;

/// One command: the table below is the command line's truth.
struct Command {
    name: &'static str,
    /// A line for the list of commands.
    summary: &'static str,
    /// All of its help.
    help: &'static str,
    /// Says of its arguments why they are not understood.
    misunderstood: fn(&[String]) -> Option<String>,
    run: fn(&Session, &[String]) -> Ended,
}

const COMMANDS: [Command; 11] = [
    Command {
        name: "demo",
        summary: "run the main job against a stand-in for Amazon, and show it",
        help: demo::HELP,
        misunderstood: |_| None,
        run: demo::run,
    },
    Command {
        name: "test",
        summary: "run every test, or those that are named",
        help: test::HELP,
        misunderstood: |_| None,
        run: test::run,
    },
    Command {
        name: "chaos",
        summary: "break everything for a while, and check that no work is lost or done twice",
        help: chaos::HELP,
        misunderstood: |_| None,
        run: chaos::run,
    },
    Command {
        name: "fuzz",
        summary: "ask the API everything that its document allows, and much that it forbids",
        help: fuzz::HELP,
        misunderstood: |_| None,
        run: fuzz::run,
    },
    Command {
        name: "usage",
        summary: "measure how much of Amazon's usage plans one seller's work uses",
        help: usage::HELP,
        misunderstood: |_| None,
        run: usage::run,
    },
    Command {
        name: "simulate",
        summary: "play a day of thousands of sellers in minutes, and measure it",
        help: simulate::HELP,
        misunderstood: |_| None,
        run: simulate::run,
    },
    Command {
        name: "check",
        summary: "formatting, lints, documentation, house rules, licences",
        help: check::HELP,
        misunderstood: |arguments| {
            arguments.first().map(|word| format!("`check` takes no arguments, got `{word}`"))
        },
        run: check::run,
    },
    Command {
        name: "services",
        summary: "start, stop or show the Redis and Postgres of this checkout",
        help: servers::HELP,
        misunderstood: servers::misunderstood,
        run: servers::run,
    },
    Command {
        name: "tools",
        summary: "install what tests need beside Redis and Postgres",
        help: toolbox::HELP,
        misunderstood: |arguments| {
            arguments.first().map(|word| format!("`tools` takes no arguments, got `{word}`"))
        },
        run: toolbox::run,
    },
    Command {
        name: "prepare",
        summary: "renew .sqlx, what the compiler knows of the SQL without a database",
        help: prepare::HELP,
        misunderstood: prepare::misunderstood,
        run: prepare::run,
    },
    Command {
        name: "new-kind",
        summary: "write a new kind of job that compiles",
        help: new_kind::HELP,
        misunderstood: new_kind::misunderstood,
        run: new_kind::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let asks_for_help = |word: &String| ["-h", "--help", "help"].contains(&word.as_str());
    let Some((name, rest)) = arguments.split_first() else {
        eprintln!("{}", overview());
        return ExitCode::from(2);
    };
    if asks_for_help(name) {
        println!("{}", overview());
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        return not_understood(&format!("there is no command `{name}`"), &overview());
    };
    if rest.first().is_some_and(asks_for_help) {
        println!("{}", command.help);
        return ExitCode::SUCCESS;
    }
    if let Some(why) = (command.misunderstood)(rest) {
        return not_understood(&why, command.help);
    }
    match Session::open().and_then(|session| (command.run)(&session, rest)) {
        Ok(code) => code,
        Err(error) => {
            let mut message = error.to_string();
            let mut cause = error.source();
            while let Some(source) = cause {
                message.push_str(&format!(": {source}"));
                cause = source.source();
            }
            session::say_failed(&message);
            ExitCode::FAILURE
        }
    }
}

fn not_understood(why: &str, help: &str) -> ExitCode {
    session::say_failed(why);
    eprintln!("\n{help}");
    ExitCode::from(2)
}

fn overview() -> String {
    let mut text =
        "The commands of this workspace.\n\nUsage: cargo xtask COMMAND [ARGUMENTS]\n\nCommands:\n".to_owned();
    for command in &COMMANDS {
        text.push_str(&format!("  {:<10}{}\n", command.name, command.summary));
    }
    text.push_str("\n`cargo xtask COMMAND --help` tells more and shows examples.");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_help_with_an_example() {
        for command in &COMMANDS {
            let call = format!("cargo xtask {}", command.name);
            assert!(command.help.starts_with(&format!("Usage: {call}")), "{}", command.name);
            assert!(
                command.help.split("Examples:").nth(1).is_some_and(|examples| examples.contains(&call)),
                "{}",
                command.name
            );
            assert!(overview().contains(command.summary), "{}", command.name);
        }
    }
}
