//! Inviting people.
//!
//! Inviting somebody again who has not accepted makes a new link and ends the old one; their roles are those said last. Who
//! has accepted is not invited again: an admin resets them first.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use thiserror::Error;

use crate::{
    auth::{
        Roles, Token, factors, invitations,
        staff::{self, StaffId},
    },
    ops::Act,
};

/// An invitation that was made.
#[derive(Debug)]
pub struct Invited {
    /// Who is invited.
    pub staff: StaffId,
    /// The link's secret, to be shown once.
    pub token: Token,
    /// Until when it can be used.
    pub expires_at: DateTime<Utc>,
}

/// Why nobody was invited.
#[derive(Debug, Error)]
pub enum InviteError {
    /// A name is what the audit log shows.
    #[error(
        "`{0}` is not a name for the audit log: it begins with a small letter, and has small letters, digits, dots, dashes and underscores, 40 at most, as ann.lee"
    )]
    Name(String),
    /// They have accepted.
    #[error("{0} signs in already; to give them a new way in, reset them")]
    Enrolled(String),
    /// They were disabled.
    #[error("{0} is disabled; a name is never given to somebody else")]
    Disabled(String),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Adds a person, or one who has not accepted yet, and makes their link. Belongs into a transaction.
///
/// # Errors
/// When the name is none or taken by somebody who signs in, or the database fails.
pub async fn invite(
    connection: &mut PgConnection,
    name: &str,
    roles: &Roles,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<Invited, InviteError> {
    if !staff::is_name(name) {
        return Err(InviteError::Name(name.to_owned()));
    }
    let known = sqlx::query!(
        r#"select id as "id: StaffId", disabled_at from staff where name = $1 for update"#,
        name
    )
    .fetch_optional(&mut *connection)
    .await?;
    let staff = match known {
        None => staff::add(connection, name, roles, now).await?,
        Some(row) if row.disabled_at.is_some() => return Err(InviteError::Disabled(name.to_owned())),
        Some(row) => {
            if factors::of(connection, row.id).await?.is_enrolled() {
                return Err(InviteError::Enrolled(name.to_owned()));
            }
            sqlx::query!("update staff set roles = $2 where id = $1", row.id.0, &roles.names())
                .execute(&mut *connection)
                .await?;
            row.id
        }
    };
    let token = invitations::make(connection, staff, now).await?;
    act.record(connection, "staff.invite", &staff.to_string(), now).await?;
    Ok(Invited { staff, token, expires_at: now + invitations::GOOD_FOR })
}
