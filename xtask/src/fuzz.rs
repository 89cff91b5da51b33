//! `cargo xtask fuzz`: services, tools, binaries, then the fuzzing itself, a binary of the crate `tests`.
//!
//! Standard output is that binary's alone. Ctrl-C is passed on to it, which stops what it started; then the services stop, unless
//! they were there before.

use xtask::process::{Forward, run as run_command};

use crate::Ended;
use crate::built::{build, exit_code, program};
use crate::session::{Session, hush, tell, tell_tools};

pub(crate) const HELP: &str = "\
Usage: cargo xtask fuzz [--minutes M] [--seed N] [ARGUMENTS OF FUZZ]

Gets Redis and Postgres as `cargo xtask services start` does and the fuzzer as `cargo xtask tools` does, builds everything, and lets
schemathesis ask every operation of /v1/openapi.json of a real console with a real key, beside a scheduler and a worker. Says on stderr
what it found, and how to ask the same again; prints one line of JSON. Exit code 0 when every answer was one that the document has.

  --minutes M  how long (10); it repeats itself with other data until then
  --seed N     which data (1)

Examples:
  cargo xtask fuzz
  cargo xtask fuzz --minutes 60 --seed 7";

pub(crate) fn run(session: &Session, arguments: &[String]) -> Ended {
    let tools = session.tools();
    tools.install()?;
    let services = session.services();
    let lease = services.lease()?;
    session.interrupts.check()?;
    build(session)?;
    let mut command = program(session, "fuzz", arguments)?;
    tell(&mut command, lease.urls());
    tell_tools(&mut command, &tools);
    let status = run_command(&mut command, &session.interrupts, Forward::ToLeader)?;
    hush();
    lease.give_back()?;
    Ok(exit_code(status))
}
