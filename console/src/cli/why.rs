//! Who types a command that changes something, and why.

use super::stop::Stop;
use crate::ops::{Act, Via};

/// The act of somebody who types a command.
pub(super) fn act(actor: Option<&str>, reason: &str) -> Result<Act, Stop> {
    let act = Act::new(actor.unwrap_or_default(), reason).map_err(Stop::usage)?;
    Ok(act.via(Via::Cli))
}
