//! Child processes that are waited for, forwarded to, and never left behind.
//!
//! A command started by [`run`] stands in a process group of its own, so that a Ctrl-C at the terminal reaches this process alone and
//! each signal is passed on exactly once. Signals are sent through the shell's `kill`, because std cannot send them and this crate
//! has no unsafe code. Nothing here outlives its caller except what [`crate::services`] starts on purpose.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Error, Result};

/// How often a condition is looked at while waiting for it.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The signals this process was sent. Once it listens, none of them ends the process by itself: whoever waits looks here.
/// The default listens to nothing. Clones share what they hear.
#[derive(Clone, Debug, Default)]
pub struct Interrupts {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    ever: Arc<AtomicBool>,
}

impl Interrupts {
    /// Starts to listen for Ctrl-C, requests to terminate, and a terminal that goes away.
    ///
    /// # Errors
    /// When the operating system refuses a handler.
    pub fn listen() -> Result<Self> {
        let interrupts = Self::default();
        for (signal, flag) in [
            (SIGINT, &interrupts.interrupt),
            (SIGTERM, &interrupts.terminate),
            (SIGHUP, &interrupts.terminate),
        ] {
            signal_hook::flag::register(signal, Arc::clone(flag))
                .map_err(|source| Error::Spawn { program: "the signal handlers".to_owned(), source })?;
        }
        Ok(interrupts)
    }

    /// Fails with [`Error::Interrupted`] when a signal has come since this process listens.
    ///
    /// # Errors
    /// See above; nothing else.
    pub fn check(&self) -> Result<()> {
        while self.take().is_some() {}
        if self.ever.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// The next signal to pass on, if any.
    fn take(&self) -> Option<&'static str> {
        let name = if self.interrupt.swap(false, Ordering::Relaxed) {
            "INT"
        } else if self.terminate.swap(false, Ordering::Relaxed) {
            "TERM"
        } else {
            return None;
        };
        self.ever.store(true, Ordering::Relaxed);
        Some(name)
    }
}

/// Who hears of a signal that comes while a command runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// The command alone, which stops its own children in good order.
    ToLeader,
    /// The command and its children, for a command such as cargo that does not pass signals on.
    ToGroup,
}

/// Runs a command to its end, passing on the signals that come meanwhile. Its standard input is empty: outside the terminal's
/// foreground group, reading from the terminal would stop it. What it leaves in its process group is killed.
///
/// # Errors
/// When the command cannot be started or waited for. A command that fails is not an error here: see [`succeed`].
pub fn run(command: &mut Command, interrupts: &Interrupts, forward: Forward) -> Result<ExitStatus> {
    let mut child = command.stdin(Stdio::null()).process_group(0).spawn().map_err(spawning(command))?;
    let leader = child.id().to_string();
    let group = format!("-{leader}");
    loop {
        if let Some(status) = child.try_wait().map_err(spawning(command))? {
            signal(&group, "KILL");
            return Ok(status);
        }
        if let Some(name) = interrupts.take() {
            signal(if forward == Forward::ToGroup { &group } else { &leader }, name);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Like [`run`], for a command that must succeed.
///
/// # Errors
/// [`Error::Interrupted`] when a signal ended it, [`Error::Failed`] when it failed by itself, and what [`run`] fails with.
pub fn succeed(command: &mut Command, interrupts: &Interrupts) -> Result<()> {
    let status = run(command, interrupts, Forward::ToGroup)?;
    interrupts.check()?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed { command: words(command), how: status.to_string(), output: String::new() })
}

/// Runs a short command and returns what it prints, without surrounding white space.
///
/// # Errors
/// When it cannot be started, or fails; then with the end of what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(spawning(command))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(printed.trim().to_owned());
    }
    let said = format!("{printed}{}", String::from_utf8_lossy(&output.stderr));
    Err(Error::Failed { command: words(command), how: output.status.to_string(), output: last_lines(&said) })
}

/// Whether a command ends well within a time limit. It is killed when that is over.
pub fn succeeds_within(command: &mut Command, limit: Duration) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = quiet.spawn() else { return false };
    let mut ended = None;
    wait_until(limit, || {
        ended = child.try_wait().ok().flatten();
        ended.is_some()
    });
    if ended.is_none() {
        // Both fail only for a child that has ended meanwhile, and then there is nothing left to do.
        child.kill().ok();
        child.wait().ok();
    }
    ended.is_some_and(|status| status.success())
}

/// Looks at a condition until it holds (true) or the time is over (false).
pub fn wait_until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Sends a signal, by its name without SIG, to a process or (with a minus in front) to a process group. Returns whether there was
/// somebody to send it to.
pub fn signal(whom: &str, name: &str) -> bool {
    Command::new("sh")
        .args(["-c", r#"kill -s "$1" -- "$2""#, "sh", name, whom])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether a process exists that we may signal.
pub fn is_alive(pid: u32) -> bool {
    signal(&pid.to_string(), "0")
}

/// Whether a process lives and has `folder` as its working directory. Redis and Postgres both go into their data folder, so this
/// tells a server of ours from a stranger that got the process id of one that is gone.
pub fn works_in(pid: u32, folder: &Path) -> bool {
    let Ok(folder) = fs::canonicalize(folder) else { return false };
    let link = PathBuf::from(format!("/proc/{pid}/cwd"));
    if Path::new("/proc/self/cwd").exists() {
        return fs::read_link(link).is_ok_and(|cwd| cwd == folder);
    }
    output(Command::new("lsof").args(["-a", "-d", "cwd", "-Fn", "-p", &pid.to_string()])).is_ok_and(|lines| {
        lines.lines().any(|line| line.strip_prefix('n').is_some_and(|cwd| Path::new(cwd) == folder))
    })
}

/// The first program of that name on PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// The end of a text, enough of it to see what went wrong.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Makes an [`Error::Spawn`] that names the command's program.
pub(crate) fn spawning(command: &Command) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let program = command.get_program().to_string_lossy().into_owned();
    move |source| Error::Spawn { program, source }
}

/// A command line as it would be typed, for messages.
pub(crate) fn words(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
