//! Who types a command that changes something, and why.

use clap::Args;

use super::stop::Stop;
use crate::ops::{Act, Via};

/// For commands that change something.
#[derive(Debug, Args)]
pub(super) struct Why {
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who you are, for the audit log.
    #[arg(long = "as", value_name = "NAME", env = "USER", hide_env_values = true)]
    actor: Option<String>,
}

impl Why {
    /// The act.
    pub(super) fn act(&self) -> Result<Act, Stop> {
        act(self.actor.as_deref(), &self.reason)
    }
}

/// The act of somebody who types a command.
pub(super) fn act(actor: Option<&str>, reason: &str) -> Result<Act, Stop> {
    let act = Act::new(actor.unwrap_or_default(), reason).map_err(Stop::usage)?;
    Ok(act.via(Via::Cli))
}
