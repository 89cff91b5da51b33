//! What tests need beside Redis and Postgres, as `cargo xtask tools` has installed it.
//!
//! A test that lacks one says so, loudly, and passes: who runs `cargo test` by hand may have reasons. `cargo xtask test` installs
//! them all before it runs the tests.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use xtask::{
    process::Interrupts,
    tools::{Tool, Tools},
};

/// The tools of this checkout.
pub(crate) fn tools() -> Tools {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools");
    Tools::new(&folder, |line| eprintln!("{line}"), Interrupts::default())
}

/// Where each of these is; `None`, said loudly, when one is missing.
pub(crate) fn found<const N: usize>(what: &str, wanted: [Tool; N]) -> Option<[PathBuf; N]> {
    let tools = tools();
    let places = wanted.map(|tool| (tool, tools.find(tool)));
    let missing: Vec<_> = places.iter().filter(|(_, place)| place.is_none()).map(|(tool, _)| *tool).collect();
    if !missing.is_empty() {
        not_checked(what, &format!("{missing:?} is missing; `cargo xtask tools` installs it"));
        return None;
    }
    Some(places.map(|(_, place)| place.unwrap_or_default()))
}

/// Says that something was not tried, past the test harness, which keeps what a passing test prints to itself.
pub(crate) fn not_checked(what: &str, why: &str) {
    // There is nobody else to tell when standard error is closed.
    writeln!(std::io::stderr(), "NOT CHECKED {what}: {why}").ok();
}
