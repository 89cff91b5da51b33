//! `cargo xtask demo`: services, binaries, then the demo itself, a binary of the crate `tests`.
//!
//! Standard output is the demo's alone, so that its last line is the last line. Ctrl-C is passed on to the demo, which stops what it
//! started; then the services stop, unless they were there before.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

use xtask::Error;
use xtask::process::{Forward, run as run_command, succeed};

use crate::Ended;
use crate::session::{Session, hush, say, tell};

pub(crate) const HELP: &str = "\
Usage: cargo xtask demo [--check] [--sellers N] [--orders N] [ARGUMENTS OF THE DEMO]

Gets Redis and Postgres as `cargo xtask services start` does, builds everything, and runs the main job: a stand-in for Amazon, one
scheduler, two workers and the console, with sellers and orders. Shows what happens until Ctrl-C, then stops all it has started.

  --check      run to the end without a terminal, compare what the system says with what the stand-in recorded, print one JSON line
               last; exit code 0 when they agree
  --sellers N  how many sellers
  --orders N   how many orders in all

Other arguments are passed on; `cargo xtask demo -- --help` shows all that the demo takes.

Examples:
  cargo xtask demo
  cargo xtask demo --check --sellers 5 --orders 2000";

pub(crate) fn run(session: &Session, arguments: &[String]) -> Ended {
    let services = session.services();
    let lease = services.lease()?;
    session.interrupts.check()?;
    say("building");
    let mut build = session.cargo(&["build", "--workspace", "--bins", "--locked"]);
    // Cargo's own words belong on stderr, where they are anyway; its stdout would mix with the demo's.
    succeed(&mut build, &session.interrupts)?;
    let mut command = Command::new(program()?);
    let arguments = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
    command.args(arguments).current_dir(&session.root);
    tell(&mut command, lease.urls());
    let status = run_command(&mut command, &session.interrupts, Forward::ToLeader)?;
    if arguments.iter().any(|argument| argument == "--check") {
        hush();
    }
    lease.give_back()?;
    Ok(exit_code(status))
}

/// The demo that cargo has just built: it puts all binaries of the workspace beside this one.
fn program() -> xtask::Result<PathBuf> {
    let own = env::current_exe().map_err(|source| Error::Spawn { program: "the demo".to_owned(), source })?;
    let program = own.with_file_name("demo");
    if program.is_file() {
        return Ok(program);
    }
    Err(Error::Advice(format!("{} was not built: has the crate `tests` a binary `demo`?", program.display())))
}

/// The demo's exit code; one that a signal has ended failed.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_demos() {
        let ended = |wait_status| exit_code(ExitStatus::from_raw(wait_status));
        assert_eq!(ended(0), ExitCode::SUCCESS);
        assert_eq!(ended(3 << 8), ExitCode::from(3));
        assert_eq!(ended(9), ExitCode::from(137), "killed with SIGKILL");
    }
}
