//! The states of a job. The database enforces them; `docs/ARCHITECTURE.md` draws them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a job is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for a worker.
    Ready,
    /// Waits for its moment.
    Delayed,
    /// A worker runs it.
    Running,
    /// Ended well.
    Done,
    /// Ended in failure; a named person may requeue or discard it.
    Dead,
    /// Ended because somebody or something said so: discarded, expired, of a retired kind.
    Cancelled,
}

impl State {
    /// All states, in the order of a job's life.
    pub const ALL: [Self; 6] =
        [Self::Ready, Self::Delayed, Self::Running, Self::Done, Self::Dead, Self::Cancelled];

    /// As stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Delayed => "delayed",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing will happen to the job any more by itself.
    #[must_use]
    pub const fn finished(self) -> bool {
        matches!(self, Self::Done | Self::Dead | Self::Cancelled)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|state| state.name()).collect();
            format!("`{text}` is not a state; the states are {}", known.join(", "))
        })
    }
}
