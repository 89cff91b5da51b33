//! How a command ends when it does not end well. The exit code tells a program which sort it was: 1 failed (trying again may
//! help), 2 wrong usage (change the command), 3 refused or not found (change the world, or what is asked for).

use std::process::ExitCode;

/// Why a command stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// Something it needs did not work.
    Failed(anyhow::Error),
    /// The command or what it was given cannot be understood.
    Usage(anyhow::Error),
    /// It was understood, and refused; or what it names does not exist.
    Refused(anyhow::Error),
}

impl Stop {
    pub(super) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::Usage(error.into())
    }

    pub(super) fn refused(error: impl Into<anyhow::Error>) -> Self {
        Self::Refused(error.into())
    }

    pub(super) const fn error(&self) -> &anyhow::Error {
        match self {
            Self::Failed(error) | Self::Usage(error) | Self::Refused(error) => error,
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 3,
        })
    }
}

/// What is not said to be something else has failed.
impl<E> From<E> for Stop
where
    anyhow::Error: From<E>,
{
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
