//! `cargo xtask simulate`: builds the crate `simulation` with optimisation and runs it. It needs no servers.
//!
//! Standard output is the simulation's alone, so that its last line is the last line.

use xtask::process::{Forward, run as run_command, succeed};

use crate::Ended;
use crate::built::{exit_code, optimised};
use crate::session::{Session, hush, say};

pub(crate) const HELP: &str = "\
Usage: cargo xtask simulate [--sellers N] [--hours N] [ARGUMENTS OF THE SIMULATION]

Plays a day of thousands of sellers in minutes: our own schedules, turns, budgets, permits and paging against a simulated Amazon that
counts every call against its usage plans. Prints one JSON line: calls of each operation, how many were throttled (0), how old each
data set was (p50, p99), what became of review requests, the most memory used. Draws a picture of age and budgets over the day.
Exit code 0 when nothing was throttled and no review request missed its window.

  --sellers N      how many sellers (10000)
  --hours N        how many hours (24)
  --workers N      how many workers, of 32 slots each (8)
  --seed N         what the sellers are like: the same number, the same day (1)
  --picture FILE   where the picture goes (target/simulation.svg)

Examples:
  cargo xtask simulate --sellers 10000 --hours 24
  cargo xtask simulate --sellers 500 --hours 6 --seed 7 --picture target/small.svg";

pub(crate) fn run(session: &Session, arguments: &[String]) -> Ended {
    say("building with optimisation, which takes some minutes the first time");
    let mut build = session.cargo(&["build", "--release", "--locked", "-p", "simulation"]);
    succeed(&mut build, &session.interrupts)?;
    let mut command = optimised(session, "simulation", arguments)?;
    let status = run_command(&mut command, &session.interrupts, Forward::ToLeader)?;
    hush();
    Ok(exit_code(status))
}
