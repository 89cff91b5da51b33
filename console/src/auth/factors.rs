//! What a person can prove who they are with: seen, added and taken away.
//!
//! A person keeps at least one whole way to sign in: a passkey, or a password with an authenticator app. Whoever changes
//! factors ends the person's other sessions, in the same transaction.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use thiserror::Error;

use crate::auth::{authenticators, passwords, recovery, session, staff::StaffId, tries};

runtime::id_type!(
    /// A passkey.
    PasskeyId
);

/// A passkey, as its owner knows it.
#[derive(Debug, Clone)]
pub struct PasskeyRow {
    /// Which.
    pub id: PasskeyId,
    /// What its owner calls it.
    pub label: String,
    /// When it was enrolled.
    pub created_at: DateTime<Utc>,
    /// When it last proved who somebody is.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// All factors of a person.
#[derive(Debug)]
pub struct Factors {
    /// The passkeys, the oldest first.
    pub passkeys: Vec<PasskeyRow>,
    /// When the password was chosen.
    pub password_set_at: Option<DateTime<Utc>>,
    /// When the authenticator app was enrolled.
    pub authenticator_since: Option<DateTime<Utc>>,
    /// How many recovery codes are good.
    pub recovery_codes: i64,
}

impl Factors {
    /// Whether the password and an app together are a whole way in.
    #[must_use]
    pub const fn has_password_way(&self) -> bool {
        self.password_set_at.is_some() && self.authenticator_since.is_some()
    }

    /// Whether the person can sign in at all.
    #[must_use]
    pub const fn is_enrolled(&self) -> bool {
        !self.passkeys.is_empty() || self.has_password_way()
    }
}

/// Why a factor was not taken away.
#[derive(Debug, Error)]
pub enum RemoveError {
    /// There is none such.
    #[error("you have no such passkey; load the page again")]
    Unknown,
    /// Nothing would be left.
    #[error("this is your only way to sign in; enrol another passkey first")]
    Last,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The factors of a person.
///
/// # Errors
/// When the database fails.
pub async fn of(connection: &mut PgConnection, staff: StaffId) -> Result<Factors, sqlx::Error> {
    let passkeys = sqlx::query_as!(
        PasskeyRow,
        r#"
        select id as "id: PasskeyId", label, created_at, last_used_at from passkeys
        where staff_id = $1 order by created_at, id
        "#,
        staff.0
    )
    .fetch_all(&mut *connection)
    .await?;
    let authenticator_since =
        sqlx::query_scalar!("select created_at from authenticators where staff_id = $1", staff.0)
            .fetch_optional(&mut *connection)
            .await?;
    Ok(Factors {
        passkeys,
        password_set_at: passwords::held(connection, staff).await?.map(|held| held.set_at),
        authenticator_since,
        recovery_codes: recovery::left(connection, staff).await?,
    })
}

/// Takes a passkey away. Belongs into a transaction.
///
/// # Errors
/// When it is not there, or the only way in, or the database fails.
pub async fn remove_passkey(
    connection: &mut PgConnection,
    staff: StaffId,
    passkey: PasskeyId,
) -> Result<(), RemoveError> {
    // Two that are taken away at once must not both be the last but one.
    sqlx::query!("select id from staff where id = $1 for update", staff.0)
        .fetch_one(&mut *connection)
        .await?;
    let removed = sqlx::query!("delete from passkeys where id = $1 and staff_id = $2", passkey.0, staff.0)
        .execute(&mut *connection)
        .await?;
    if removed.rows_affected() == 0 {
        return Err(RemoveError::Unknown);
    }
    if of(connection, staff).await?.is_enrolled() { Ok(()) } else { Err(RemoveError::Last) }
}

/// Takes every factor away and ends every session, so that only a new invitation leads in: what an admin does when a person
/// has lost everything, or somebody else may have it. Belongs into a transaction.
///
/// # Errors
/// When the database fails.
pub async fn remove_all(
    connection: &mut PgConnection,
    staff: StaffId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from passkeys where staff_id = $1", staff.0).execute(&mut *connection).await?;
    sqlx::query!("delete from recovery_codes where staff_id = $1", staff.0).execute(&mut *connection).await?;
    sqlx::query!("delete from ceremonies where staff_id = $1", staff.0).execute(&mut *connection).await?;
    authenticators::remove(connection, staff).await?;
    passwords::end(connection, staff, now).await?;
    tries::open(connection, staff).await?;
    session::revoke_all(connection, staff, None, now).await.map(|_| ())
}
