//! `cargo xtask usage`: services, binaries, then the measurement itself, a binary of the crate `tests`.
//!
//! Standard output is the measurement's alone. Ctrl-C is passed on to it, which stops what it started; then the services stop,
//! unless they were there before.

use xtask::process::{Forward, run as run_command};

use crate::Ended;
use crate::built::{build, exit_code, program};
use crate::session::{Session, hush, tell};

pub(crate) const HELP: &str = "\
Usage: cargo xtask usage [--hours H] [--speed N] [ARGUMENTS OF USAGE]

Gets Redis and Postgres as `cargo xtask services start` does, builds everything, and lets four workers work for one seller who has more
to do than Amazon's usage plans allow, against a stand-in for Amazon with a sped-up quota. Prints one line of JSON: how much of each
plan was used, for which of them work waited all the time (`contended`), and how many calls were throttled. Exit code 0 when none was,
and each contended plan was used to 97 %.

  --hours H    how many hours of quota are measured (1)
  --speed N    how much faster than Amazon's the quota refills (10: an hour lasts six minutes)
  --workers N  how many worker processes (4)
  --orders N   how many orders the seller has (12000)

Other arguments are passed on; `cargo xtask usage -- --help` shows all that it takes.

Examples:
  cargo xtask usage
  cargo xtask usage --hours 0.25";

pub(crate) fn run(session: &Session, arguments: &[String]) -> Ended {
    let services = session.services();
    let lease = services.lease()?;
    session.interrupts.check()?;
    build(session)?;
    let mut command = program(session, "usage", arguments)?;
    tell(&mut command, lease.urls());
    let status = run_command(&mut command, &session.interrupts, Forward::ToLeader)?;
    hush();
    lease.give_back()?;
    Ok(exit_code(status))
}
