//! Passkeys: what their ceremonies bring and what can go wrong. The ceremonies themselves are in `webauthn`; a build without
//! the feature `passkeys` has none (`absent`), and its pages say so.

use serde_json::Value;
use thiserror::Error;

use crate::auth::ceremonies::CeremonyError;

#[cfg(not(feature = "passkeys"))]
mod absent;
#[cfg(feature = "passkeys")]
mod webauthn;

#[cfg(not(feature = "passkeys"))]
pub use absent::Passkeys;
#[cfg(feature = "passkeys")]
pub use webauthn::Passkeys;

/// The first half of a ceremony, for the page's script.
#[derive(Debug, serde::Serialize)]
pub struct Begun {
    /// What the second half has to bring.
    pub ceremony: String,
    /// What the browser is asked, as it wants it.
    pub options: Value,
}

/// The second half of a ceremony, from the page's script.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Answer {
    /// Which ceremony.
    pub ceremony: String,
    /// What the browser answered, as JSON.
    pub credential: String,
}

/// Why a passkey was not enrolled or not accepted.
#[derive(Debug, Error)]
pub enum PasskeyError {
    /// This console has no passkeys.
    #[error(
        "passkeys do not work here: the console needs a name of its own (AMZIGO_CONSOLE_ORIGIN), and the feature `passkeys`"
    )]
    Absent,
    /// The answer is no passkey's.
    #[error("the browser's answer cannot be read; load the page again")]
    Unreadable,
    /// It proves nothing, or is not known here.
    #[error("the passkey was not accepted: {0}")]
    Refused(String),
    /// It is enrolled already.
    #[error("this passkey is enrolled already; choose another device")]
    Known,
    /// The ceremony has ended.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<serde_json::Error> for PasskeyError {
    fn from(_: serde_json::Error) -> Self {
        Self::Unreadable
    }
}
