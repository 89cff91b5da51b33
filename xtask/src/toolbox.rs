//! `cargo xtask tools`: installs what tests need beside Redis and Postgres, for those who run `cargo test` by hand.

use std::process::ExitCode;

use xtask::tools::Tool;

use crate::Ended;
use crate::session::{Session, say_done};

pub(crate) const HELP: &str = "\
Usage: cargo xtask tools

Finds or installs what tests need beside Redis and Postgres, saying so first, and prints where it is: a browser, node with packages
from npm, Python with an API fuzzer, curl. `cargo xtask test` does the same before the tests that need them.

Programs come from the machine's package manager, which needs root or sudo only when one is missing; packages of npm and Python, pinned
by exact version, go to target/tools. A variable that is set, as TEST_CHROMIUM=/opt/chromium/chrome, names a tool to use instead.

Examples:
  cargo xtask tools
  TEST_CHROMIUM=/opt/chromium/chrome cargo xtask tools";

pub(crate) fn run(session: &Session, _: &[String]) -> Ended {
    let tools = session.tools();
    tools.install()?;
    for tool in Tool::ALL {
        if let Some(place) = tools.find(tool) {
            println!("{}={}", tool.variable(), place.display());
        }
    }
    say_done("everything is there");
    Ok(ExitCode::SUCCESS)
}
