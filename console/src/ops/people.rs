//! Members of staff: what they may do, whether they may sign in, where they are signed in, and when somebody last looked
//! whether that is still right.
//!
//! Nobody changes their own roles or confirms them, and the last admin stays one: so no single person can shut out the others
//! or make themselves more than they were. Each change takes the rows of all admins in one order, so that two admins at the
//! same time do not end with none.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use thiserror::Error;

use crate::{
    auth::{
        Role, Roles, Token, factors, invitations,
        session::{self, OpenSession, SessionId},
        staff::StaffId,
    },
    ops::Act,
};

/// What a person may do is to be confirmed so often.
pub const REVIEW_EVERY: TimeDelta = TimeDelta::days(90);

/// A member of staff.
#[derive(Debug, Clone, Serialize)]
pub struct Member {
    /// Their id.
    pub id: StaffId,
    /// Their handle.
    pub name: String,
    /// What they may do.
    pub roles: Roles,
    /// When they were invited first.
    pub created_at: DateTime<Utc>,
    /// Since when they may not sign in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<DateTime<Utc>>,
    /// When they were last there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<DateTime<Utc>>,
    /// When somebody last confirmed that they need their roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reviewed_at: Option<DateTime<Utc>>,
    /// Who did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reviewed_by: Option<String>,
    /// Whether that was too long ago.
    pub review_is_due: bool,
}

/// Why nothing was changed.
#[derive(Debug, Error)]
pub enum PeopleError {
    /// Nobody is called so.
    #[error("there is no member of staff {0}; `amzigo staff list` shows who is there")]
    Unknown(String),
    /// Nobody decides about themselves.
    #[error("nobody changes or confirms what they themselves may do; ask another admin")]
    Oneself,
    /// Nobody would be left to invite anybody.
    #[error("{0} is the last admin; make somebody else an admin first")]
    LastAdmin(String),
    /// It is so already.
    #[error("{0}")]
    AlreadySo(String),
    /// The session has ended, or never was.
    #[error("there is no open session {0}; it may have ended by itself")]
    NoSession(SessionId),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// All members of staff by their names, those who may not sign in last.
///
/// # Errors
/// When the database fails.
pub async fn list(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<Member>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select id as "id: StaffId", name, roles, created_at, disabled_at, reviewed_at, reviewed_by,
            (select max(last_seen_at) from sessions where staff_id = staff.id) as last_seen_at
        from staff order by disabled_at is not null, name
        "#
    )
    .fetch_all(connection)
    .await?;
    let members = rows.into_iter().map(|row| Member {
        id: row.id,
        name: row.name,
        roles: stored(&row.roles),
        created_at: row.created_at,
        disabled_at: row.disabled_at,
        last_seen_at: row.last_seen_at,
        reviewed_at: row.reviewed_at,
        reviewed_by: row.reviewed_by,
        // Whoever was invited lately was looked at then.
        review_is_due: row.disabled_at.is_none()
            && row.reviewed_at.unwrap_or(row.created_at) + REVIEW_EVERY < now,
    });
    Ok(members.collect())
}

/// Who is called so.
///
/// # Errors
/// When nobody is, or the database fails.
pub async fn named(connection: &mut PgConnection, name: &str) -> Result<StaffId, PeopleError> {
    sqlx::query_scalar!(r#"select id as "id: StaffId" from staff where name = $1"#, name)
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| PeopleError::Unknown(name.to_owned()))
}

/// Gives a person these roles instead of those they have, and ends their sessions. Belongs into a transaction.
///
/// # Errors
/// When they decide about themselves, are the last admin and would not be one, or the database fails.
pub async fn change_roles(
    connection: &mut PgConnection,
    staff: StaffId,
    roles: &Roles,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<(), PeopleError> {
    let held = hold(connection, staff).await?;
    held.not_by_oneself(act)?;
    if held.roles == *roles {
        return Err(PeopleError::AlreadySo(format!("{} has these roles already: {roles}", held.name)));
    }
    if !roles.iter().any(|role| role == Role::Admin) {
        held.not_the_last_admin()?;
    }
    sqlx::query!("update staff set roles = $2 where id = $1", staff.0, &roles.names())
        .execute(&mut *connection)
        .await?;
    session::revoke_all(connection, staff, None, now).await?;
    Ok(act.record(connection, "staff.roles", &format!("{staff}: {roles}"), now).await?)
}

/// Ends a person's sessions, and lets them open none. Belongs into a transaction.
///
/// # Errors
/// When they are the last admin or disabled already, or the database fails.
pub async fn disable(
    connection: &mut PgConnection,
    staff: StaffId,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<(), PeopleError> {
    let held = hold(connection, staff).await?;
    if held.disabled_at.is_some() {
        return Err(PeopleError::AlreadySo(format!("{} is disabled already", held.name)));
    }
    held.not_the_last_admin()?;
    sqlx::query!("update staff set disabled_at = $2 where id = $1", staff.0, now)
        .execute(&mut *connection)
        .await?;
    session::revoke_all(connection, staff, None, now).await?;
    Ok(act.record(connection, "staff.disable", &staff.to_string(), now).await?)
}

/// Lets a person sign in again, with the factors and roles they had. Belongs into a transaction.
///
/// # Errors
/// When they are not disabled, it is themselves who ask, or the database fails.
pub async fn enable(
    connection: &mut PgConnection,
    staff: StaffId,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<(), PeopleError> {
    let held = hold(connection, staff).await?;
    held.not_by_oneself(act)?;
    if held.disabled_at.is_none() {
        return Err(PeopleError::AlreadySo(format!("{} is not disabled", held.name)));
    }
    sqlx::query!("update staff set disabled_at = null where id = $1", staff.0)
        .execute(&mut *connection)
        .await?;
    Ok(act.record(connection, "staff.enable", &staff.to_string(), now).await?)
}

/// Notes that somebody has looked whether a person still needs their roles. Belongs into a transaction.
///
/// # Errors
/// When it is themselves who ask, they are disabled, or the database fails.
pub async fn review(
    connection: &mut PgConnection,
    staff: StaffId,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<(), PeopleError> {
    let held = hold(connection, staff).await?;
    held.not_by_oneself(act)?;
    if held.disabled_at.is_some() {
        return Err(PeopleError::AlreadySo(format!("{} is disabled and may do nothing", held.name)));
    }
    sqlx::query!(
        "update staff set reviewed_at = $2, reviewed_by = $3 where id = $1",
        staff.0,
        now,
        act.actor()
    )
    .execute(&mut *connection)
    .await?;
    Ok(act.record(connection, "staff.review", &format!("{staff}: {}", held.roles), now).await?)
}

/// Takes every factor from a person and ends their sessions: only the link of the invitation that this makes leads in. Belongs
/// into a transaction.
///
/// # Errors
/// When it is themselves who ask, they are disabled, or the database fails.
pub async fn reset(
    connection: &mut PgConnection,
    staff: StaffId,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<Token, PeopleError> {
    let held = hold(connection, staff).await?;
    held.not_by_oneself(act)?;
    if held.disabled_at.is_some() {
        return Err(PeopleError::AlreadySo(format!("{} is disabled; enable them first", held.name)));
    }
    factors::remove_all(connection, staff, now).await?;
    let token = invitations::make(connection, staff, now).await?;
    act.record(connection, "staff.reset", &staff.to_string(), now).await?;
    Ok(token)
}

/// Ends a session that is open. With `owner`, only if it is theirs. Belongs into a transaction.
///
/// # Errors
/// When there is no such session, or the database fails.
pub async fn revoke(
    connection: &mut PgConnection,
    session: SessionId,
    owner: Option<StaffId>,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<OpenSession, PeopleError> {
    let open = session::list(connection, owner, now).await?;
    let found = open.into_iter().find(|open| open.id == session).ok_or(PeopleError::NoSession(session))?;
    session::revoke(connection, session, now).await?;
    act.record(connection, "session.revoke", &format!("{}: session {session}", found.staff), now).await?;
    Ok(found)
}

/// Ends the sessions of a person but for the one that they ask in. Belongs into a transaction.
///
/// # Errors
/// When the database fails.
pub async fn revoke_others(
    connection: &mut PgConnection,
    staff: StaffId,
    but: SessionId,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let ended = session::revoke_all(connection, staff, Some(but), now).await?;
    if ended > 0 {
        act.record(connection, "session.revoke", &format!("{staff}: all but session {but}"), now).await?;
    }
    Ok(ended)
}

/// A person whom nobody else changes until the transaction ends.
struct Held {
    name: String,
    roles: Roles,
    disabled_at: Option<DateTime<Utc>>,
    other_admins: usize,
}

async fn hold(connection: &mut PgConnection, staff: StaffId) -> Result<Held, PeopleError> {
    let rows = sqlx::query!(
        r#"
        select id as "id: StaffId", name, roles, disabled_at from staff
        where id = $1 or ('admin' = any(roles) and disabled_at is null) order by id for update
        "#,
        staff.0
    )
    .fetch_all(connection)
    .await?;
    let other_admins = rows.iter().filter(|row| row.id != staff).count();
    let found = rows.into_iter().find(|row| row.id == staff);
    let row = found.ok_or_else(|| PeopleError::Unknown(staff.to_string()))?;
    Ok(Held { name: row.name, roles: stored(&row.roles), disabled_at: row.disabled_at, other_admins })
}

impl Held {
    fn not_by_oneself(&self, act: &Act) -> Result<(), PeopleError> {
        if act.actor() == self.name { Err(PeopleError::Oneself) } else { Ok(()) }
    }

    fn not_the_last_admin(&self) -> Result<(), PeopleError> {
        let is_admin = self.disabled_at.is_none() && self.roles.iter().any(|role| role == Role::Admin);
        if is_admin && self.other_admins == 0 {
            Err(PeopleError::LastAdmin(self.name.clone()))
        } else {
            Ok(())
        }
    }
}

/// A role that this release does not know lets nobody do anything.
fn stored(names: &[String]) -> Roles {
    Roles::stored(names.iter().filter_map(|name| name.parse().ok()))
}
