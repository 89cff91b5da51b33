//! What can go wrong around child processes and servers. Every message says what to do next where that is known.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The result of everything fallible in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An operation that failed, and what its reader may do about it.
#[derive(Debug)]
pub enum Error {
    /// A file or folder could not be read, written, locked or removed.
    File {
        /// What was tried, as in "writing".
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A program could not be started at all.
    Spawn {
        /// The program as it was called.
        program: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// A program ran and failed.
    Failed {
        /// The command line.
        command: String,
        /// How it ended, as in "exit status: 1".
        how: String,
        /// The end of what it printed; empty where it printed to the terminal.
        output: String,
    },
    /// A server ended, or did not become ready in time.
    NotReady {
        /// Which server.
        server: &'static str,
        /// What it did instead.
        what: String,
        /// Where its log is.
        log: PathBuf,
        /// The last lines of that log.
        tail: String,
    },
    /// Something still runs although it was told to stop.
    StillRunning {
        /// Which server.
        server: &'static str,
        /// Its process.
        pid: u32,
        /// How long it was given.
        within: Duration,
    },
    /// Something is missing or in the way, and only its reader can change that.
    Advice(String),
    /// Ctrl-C, or a request to terminate.
    Interrupted,
}

impl Error {
    /// Makes an [`Error::File`] of an I/O error, for `map_err`.
    pub fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { doing, path, .. } => write!(f, "{doing} {}", path.display()),
            Self::Spawn { program, .. } => write!(f, "starting {program}"),
            Self::Failed { command, how, output } if output.is_empty() => {
                write!(f, "`{command}` failed ({how})")
            }
            Self::Failed { command, how, output } => {
                write!(f, "`{command}` failed ({how}); it said:\n{output}")
            }
            Self::NotReady { server, what, log, tail } => {
                write!(f, "{server} {what}; the end of its log {}:\n{tail}", log.display())
            }
            Self::StillRunning { server, pid, within } => {
                write!(
                    f,
                    "{server} (process {pid}) did not end within {} s; look why, then `kill -9 {pid}`",
                    within.as_secs()
                )
            }
            Self::Advice(advice) => f.write_str(advice),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } | Self::Spawn { source, .. } => Some(source),
            _ => None,
        }
    }
}
