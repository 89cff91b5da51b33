//! `cargo xtask demo`: services, binaries, then the demo itself, a binary of the crate `tests`.
//!
//! Standard output is the demo's alone, so that its last line is the last line. Ctrl-C is passed on to the demo, which stops what it
//! started; then the services stop, unless they were there before.

use xtask::process::{Forward, run as run_command};

use crate::Ended;
use crate::built::{build, exit_code, program};
use crate::session::{Session, hush, tell};

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
    build(session)?;
    let mut command = program(session, "demo", arguments)?;
    tell(&mut command, lease.urls());
    let status = run_command(&mut command, &session.interrupts, Forward::ToLeader)?;
    if arguments.iter().any(|argument| argument == "--check") {
        hush();
    }
    lease.give_back()?;
    Ok(exit_code(status))
}
