//! Ceremonies: what the server remembers between the two halves of an enrolment or a sign-in.
//!
//! The page gets a token, the row has its hash. Taking deletes the row, so an answer counts once, whoever repeats it. Nothing
//! about a ceremony is in the browser but the token: a recorded answer would otherwise be as good as a new one.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::PgConnection;
use thiserror::Error;

use crate::auth::{Token, staff::StaffId};

/// How long a person may take.
pub const GOOD_FOR: TimeDelta = TimeDelta::minutes(10);

/// What a ceremony is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Enrolling a passkey.
    PasskeyEnrolment,
    /// Signing in with a passkey.
    PasskeySignIn,
    /// Giving a passkey again.
    PasskeyStepUp,
    /// Enrolling a password, or an authenticator app, or both.
    PasswordEnrolment,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::PasskeyEnrolment => "passkey_enrolment",
            Self::PasskeySignIn => "passkey_sign_in",
            Self::PasskeyStepUp => "passkey_step_up",
            Self::PasswordEnrolment => "password_enrolment",
        }
    }
}

/// Why a ceremony could not be begun or finished.
#[derive(Debug, Error)]
pub enum CeremonyError {
    /// It was finished before, took too long, or was for something or somebody else.
    #[error("this has taken too long, or was done already; begin again")]
    Gone,
    /// What was remembered was written by another release.
    #[error("what the server remembered of it cannot be read; begin again")]
    State(#[from] serde_json::Error),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Remembers `state` for whoever comes back with the token.
///
/// # Errors
/// When the database fails.
pub async fn begin<T: Serialize>(
    connection: &mut PgConnection,
    purpose: Purpose,
    staff: Option<StaffId>,
    state: &T,
    now: DateTime<Utc>,
) -> Result<Token, CeremonyError> {
    let token = Token::new();
    sqlx::query!(
        "delete from ceremonies where token_hash in
             (select token_hash from ceremonies where expires_at < $1 limit 100 for update skip locked)",
        now
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into ceremonies (token_hash, purpose, staff_id, state, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6)",
        token.hash(),
        purpose.name(),
        staff.map(|staff| staff.0),
        serde_json::to_value(state)?,
        now,
        now + GOOD_FOR,
    )
    .execute(connection)
    .await?;
    Ok(token)
}

/// What was remembered. It is gone afterwards, whatever comes of it.
///
/// # Errors
/// When there is nothing for this token, purpose and person, or the database fails.
pub async fn take<T: DeserializeOwned>(
    connection: &mut PgConnection,
    token: &str,
    purpose: Purpose,
    staff: Option<StaffId>,
    now: DateTime<Utc>,
) -> Result<T, CeremonyError> {
    let token = Token::read(token).ok_or(CeremonyError::Gone)?;
    let state = sqlx::query_scalar!(
        "delete from ceremonies
         where token_hash = $1 and purpose = $2 and staff_id is not distinct from $3 and expires_at > $4
         returning state",
        token.hash(),
        purpose.name(),
        staff.map(|staff| staff.0),
        now,
    )
    .fetch_optional(connection)
    .await?
    .ok_or(CeremonyError::Gone)?;
    Ok(serde_json::from_value(state)?)
}
