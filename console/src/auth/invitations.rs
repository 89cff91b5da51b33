//! Invitations: one-time links by which a person chooses how they will sign in.
//!
//! A person has at most one that can be used: a new one ends those before it, so making one again is safe. Looking at a link
//! uses nothing up, because programs look at links too; enrolling does, in its transaction. A link proves nothing but that
//! its owner got it: it must reach the person by a way that others do not read.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::{
    auth::{Token, staff::StaffId},
    origin::Origin,
};

runtime::id_type!(
    /// An invitation.
    InvitationId
);

/// How long a link can be used.
pub const GOOD_FOR: TimeDelta = TimeDelta::hours(24);

/// An invitation that can be used.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// Which.
    pub id: InvitationId,
    /// Who is invited.
    pub staff: StaffId,
    /// Their name.
    pub name: String,
}

/// Makes the link's secret, and ends earlier invitations of this person.
///
/// # Errors
/// When the database fails.
pub async fn make(
    connection: &mut PgConnection,
    staff: StaffId,
    now: DateTime<Utc>,
) -> Result<Token, sqlx::Error> {
    let token = Token::new();
    sqlx::query!(
        "update invitations set ended_at = $2 where staff_id = $1 and ended_at is null",
        staff.0,
        now
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into invitations (id, staff_id, token_hash, created_at, expires_at) values ($1, $2, $3, $4, $5)",
        InvitationId::new().0,
        staff.0,
        token.hash(),
        now,
        now + GOOD_FOR,
    )
    .execute(connection)
    .await?;
    Ok(token)
}

/// The link itself, to be shown once.
#[must_use]
pub fn link(origin: &Origin, token: &Token) -> String {
    origin.page(&format!("/invitation/{}", token.text()))
}

/// The invitation of this link, while it can be used by somebody who may sign in.
///
/// # Errors
/// When the database fails.
pub async fn find(
    connection: &mut PgConnection,
    token: &Token,
    now: DateTime<Utc>,
) -> Result<Option<Invitation>, sqlx::Error> {
    sqlx::query_as!(
        Invitation,
        r#"
        select i.id as "id: InvitationId", i.staff_id as "staff: StaffId", staff.name
        from invitations i join staff on staff.id = i.staff_id
        where i.token_hash = $1 and i.ended_at is null and i.expires_at > $2 and staff.disabled_at is null
        "#,
        token.hash(),
        now,
    )
    .fetch_optional(connection)
    .await
}

/// Uses the invitation up; `false` when somebody else was faster. Belongs into the transaction of the enrolment.
///
/// # Errors
/// When the database fails.
pub async fn end(
    connection: &mut PgConnection,
    invitation: InvitationId,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let ended = sqlx::query!(
        "update invitations set ended_at = $2 where id = $1 and ended_at is null and expires_at > $2",
        invitation.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(ended.rows_affected() == 1)
}
