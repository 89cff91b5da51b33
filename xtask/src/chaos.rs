//! `cargo xtask chaos`: binaries, then chaos itself, a binary of the crate `tests`, on servers of its own.
//!
//! The checkout's services are left alone: chaos kills and flushes what it uses, so only their programs are needed. Standard output
//! is chaos' alone, so that its last line is the last line. Ctrl-C is passed on to it, and it stops what it started.

use xtask::process::{Forward, run as run_command};
use xtask::services::{Service, install_programs};

use crate::Ended;
use crate::built::{build, exit_code, program};
use crate::session::{Session, hush, say};

pub(crate) const HELP: &str = "\
Usage: cargo xtask chaos [--minutes M] [--seed N | --seeds FIRST..LAST] [ARGUMENTS OF CHAOS]

Builds everything, and runs schedulers, workers and a stand-in for Amazon on a Redis and a Postgres of their own, under random faults:
kill -9 and SIGSTOP of workers and schedulers; restarts and kill -9 of Redis and Postgres; FLUSHALL; connections that are cut,
refused, slow, or hang. Then lets the system come to rest, and compares all sides. Says on stderr what happens when; prints one JSON
line for each seed. Exit code 0 when nothing was lost, finished twice or done twice at Amazon. Ctrl-C stops all it has started.

  --minutes M           how long things go wrong (2)
  --seed N              which faults, when, at whom: the same number, the same plan (1)
  --seeds FIRST..LAST   several seeds, one after the other
  --sellers N           how many sellers (24)
  --workers N           how many workers (3)
  --plan                print the plan, and do nothing

Other arguments are passed on; `cargo xtask chaos -- --help` shows all that chaos takes.

Examples:
  cargo xtask chaos --minutes 2 --seed 7
  cargo xtask chaos --minutes 1 --seeds 1..10";

pub(crate) fn run(session: &Session, arguments: &[String]) -> Ended {
    install_programs(&Service::ALL, say)?;
    build(session)?;
    let mut command = program(session, "chaos", arguments)?;
    let status = run_command(&mut command, &session.interrupts, Forward::ToLeader)?;
    hush();
    Ok(exit_code(status))
}
