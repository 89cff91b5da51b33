//! A child process that ends with its owner, whatever ends the owner.
//!
//! Beside the server runs a shell that does nothing but read from a pipe whose other end the owner holds. When the owner is gone, even
//! by `kill -9`, the read ends and the shell ends the server. An orderly stop dismisses that guardian first, so that it can never hit
//! a stranger which got the server's process id. It does not survive a `kill -9` of the guardian itself.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::process::{self, spawning};

/// A running process and its guardian. Dropped, the process gets its last signal.
#[derive(Debug)]
pub struct Guarded {
    server: Child,
    guardian: Child,
}

impl Guarded {
    /// Posts a guardian beside a server that has just been started. `last_signal` is what the server gets when its owner is gone.
    ///
    /// # Errors
    /// When the guardian cannot be started; then the server is ended.
    pub fn new(mut server: Child, last_signal: &str) -> Result<Self> {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                // CONT, because one that was left standing still would not hear of the signal.
                r#"read -r dismissed || { kill -s "$1" "$2"; kill -s CONT "$2"; }"#,
                "guardian",
                last_signal,
                &server.id().to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C at the terminal must not take the guardian before it has done its work.
            .process_group(0);
        match command.spawn() {
            Ok(guardian) => Ok(Self { server, guardian }),
            Err(error) => {
                // Fails only when the server has ended already.
                server.kill().ok();
                server.wait().ok();
                Err(spawning(&command)(error))
            }
        }
    }

    /// The server's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// How the server ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        // Fails only for a process that is not ours to wait for.
        self.server.try_wait().ok().flatten()
    }

    /// Asks the server to end with `signal` and waits; kills it when it does not. Returns how it ended.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(mut self, name: &'static str, signal: &str, within: Duration) -> Result<ExitStatus> {
        process::signal(&self.pid().to_string(), signal);
        self.dismiss();
        let mut ended = None;
        process::wait_until(within, || {
            ended = self.server.try_wait().ok().flatten();
            ended.is_some()
        });
        if let Some(status) = ended {
            return Ok(status);
        }
        let pid = self.pid();
        self.server.kill().ok();
        self.server.wait().ok();
        Err(Error::StillRunning { server: name, pid, within })
    }

    /// Ends the server with SIGKILL, as a crash would, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill_hard(mut self) -> Result<()> {
        let killed = self.server.kill();
        self.dismiss();
        killed
            .and_then(|()| self.server.wait())
            .map(drop)
            .map_err(|source| Error::Spawn { program: "kill".to_owned(), source })
    }

    fn dismiss(&mut self) {
        if let Some(mut pipe) = self.guardian.stdin.take() {
            // Fails only when the guardian is gone, which is what dismissing it is for.
            pipe.write_all(b"dismissed\n").ok();
        }
        self.guardian.wait().ok();
    }
}

/// Starts a server in a process group of its own, its output going to a log that begins anew.
pub(crate) fn spawn_logged(command: &mut Command, log: &Path) -> Result<Child> {
    let file = fs::File::create(log).map_err(Error::file("creating", log))?;
    let copy = file.try_clone().map_err(Error::file("opening", log))?;
    command.stdin(Stdio::null()).stdout(file).stderr(copy).process_group(0);
    command.spawn().map_err(spawning(command))
}

/// The error for a server that did not come up; the server is ended if it still runs.
pub(crate) fn not_ready(server: &'static str, child: &mut Child, what: String, log: &Path) -> Error {
    // Both fail only for a child that has ended already.
    child.kill().ok();
    child.wait().ok();
    let text = fs::read_to_string(log).unwrap_or_default();
    Error::NotReady { server, what, log: log.to_owned(), tail: process::last_lines(&text) }
}
