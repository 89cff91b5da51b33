//! What every command needs: where the checkout is, how cargo is called, who listens for Ctrl-C, and how people are spoken to.

use std::env;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use xtask::process::Interrupts;
use xtask::services::{Given, Service, Services, Urls};
use xtask::tools::{Tool, Tools};
use xtask::{Error, Result};

/// One call of `cargo xtask`.
pub(crate) struct Session {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// Where cargo puts what it builds.
    pub(crate) target: PathBuf,
    /// The signals that came since.
    pub(crate) interrupts: Interrupts,
}

impl Session {
    /// Looks around, and starts to listen for signals.
    pub(crate) fn open() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().unwrap_or(manifest).to_owned();
        // A relative CARGO_TARGET_DIR is meant from where cargo was called; the commands below are called from the root.
        let here = env::current_dir().map_err(Error::file("looking up", Path::new(".")))?;
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| here.join(folder));
        Ok(Self { root, target, interrupts: Interrupts::listen()? })
    }

    /// This checkout's Redis and Postgres.
    pub(crate) fn services(&self) -> Services {
        let given = Given {
            redis: text_of(Service::Redis.variable()),
            postgres: text_of(Service::Postgres.variable()),
        };
        Services::new(&self.root, &self.target.join("services"), given, say, self.interrupts.clone())
    }

    /// What this checkout's tests need beside them.
    pub(crate) fn tools(&self) -> Tools {
        Tools::new(&self.target.join("tools"), say, self.interrupts.clone())
    }

    /// A call of cargo, from the root.
    pub(crate) fn cargo(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(words).current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        command
    }
}

/// The value of a variable of ours. `runtime::env`, which declares them for the processes, is not compiled when this runs.
fn text_of(variable: &str) -> Option<String> {
    env::var_os(variable)?.into_string().ok()
}

/// Tells a command where the services are.
pub(crate) fn tell(command: &mut Command, urls: &Urls) {
    command.env("REDIS_URL", &urls.redis).env("DATABASE_URL", &urls.postgres);
}

/// Tells a command where the tools are that are there.
pub(crate) fn tell_tools(command: &mut Command, tools: &Tools) {
    for tool in Tool::ALL {
        if let Some(place) = tools.find(tool) {
            command.env(tool.variable(), place);
        }
    }
}

static HUSHED: AtomicBool = AtomicBool::new(false);

/// From now on only failures are said: a command's last line shall be the last, also where both outputs go to one place.
pub(crate) fn hush() {
    HUSHED.store(true, Ordering::Relaxed);
}

/// Says a line to the people who wait, on stderr.
pub(crate) fn say(line: &str) {
    if !HUSHED.load(Ordering::Relaxed) {
        say_in("36", line);
    }
}

/// Says that something went well.
pub(crate) fn say_done(line: &str) {
    say_in("32", line);
}

/// Says that something went wrong.
pub(crate) fn say_failed(line: &str) {
    say_in("31", line);
}

/// The name of the speaker is coloured, on a terminal that was not asked to be plain (<https://no-color.org>).
fn say_in(colour: &str, line: &str) {
    if std::io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) {
        eprintln!("\x1b[1;{colour}mxtask\x1b[0m {line}");
    } else {
        eprintln!("xtask: {line}");
    }
}
