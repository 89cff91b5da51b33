//! Sessions: opened by a sign-in, found by the token in the cookie, ended by time or by a person.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use crate::auth::{Permission, Roles, Token, staff::StaffId};

runtime::id_type!(
    /// A session.
    SessionId
);

/// The cookie that has the token. The prefix makes browsers refuse it but for this very host, over TLS (or to localhost).
pub const COOKIE: &str = "__Host-session";
/// A session ends when it rests so long. Somebody on call may rest as long as it lasts: their acts ask for a factor anyway.
pub const MOST_IDLE: TimeDelta = TimeDelta::minutes(30);
/// A session ends so long after it was opened.
pub const MOST_AGE: TimeDelta = TimeDelta::hours(12);
/// For a dangerous act a factor must have been given so lately.
pub const STEP_UP: TimeDelta = TimeDelta::minutes(10);
/// A use is noted at most so often.
const NOTED_EVERY: TimeDelta = TimeDelta::minutes(1);

/// Who asks.
#[derive(Debug, Clone)]
pub struct Person {
    /// The member of staff.
    pub staff: StaffId,
    /// Their handle, as in the audit log.
    pub name: String,
    /// What they may do.
    pub roles: Roles,
    /// The session they ask in.
    pub session: SessionId,
    /// Whether they have given a second factor.
    pub complete: bool,
    /// When a factor was last asked for.
    pub stepped_up_at: Option<DateTime<Utc>>,
    /// What a form of this session carries, so that no other site can fill it in.
    pub csrf: Token,
}

impl Person {
    /// Whether they may do this.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        self.complete && self.roles.may(permission)
    }

    /// Whether a factor was given lately enough for a dangerous act.
    #[must_use]
    pub fn stepped_up(&self, now: DateTime<Utc>) -> bool {
        self.stepped_up_at.is_some_and(|at| now - at <= STEP_UP)
    }
}

/// Opens a session. With `complete`, both factors were given just now; without, it opens nothing but the page for the second.
///
/// # Errors
/// When the database fails.
pub async fn open(
    connection: &mut PgConnection,
    staff: StaffId,
    agent: &str,
    complete: bool,
    now: DateTime<Utc>,
) -> Result<Token, sqlx::Error> {
    let token = Token::new();
    let given_at = complete.then_some(now);
    sqlx::query!(
        "insert into sessions (id, staff_id, token_hash, agent, created_at, last_seen_at, second_factor_at, stepped_up_at)
         values ($1, $2, $3, $4, $5, $5, $6, $6)",
        SessionId::new().0,
        staff.0,
        token.hash(),
        agent,
        now,
        given_at,
    )
    .execute(connection)
    .await?;
    Ok(token)
}

/// Who has this token; `None` when it was never given out, has ended, or belongs to somebody who may no longer sign in.
///
/// # Errors
/// When the database fails.
pub async fn find(
    connection: &mut PgConnection,
    token: &Token,
    now: DateTime<Utc>,
) -> Result<Option<Person>, sqlx::Error> {
    let Some(row) = sqlx::query!(
        r#"
        select s.id as "id: SessionId", s.staff_id as "staff: StaffId", staff.name, staff.roles, s.last_seen_at,
            s.second_factor_at is not null as "complete!", s.stepped_up_at
        from sessions s join staff on staff.id = s.staff_id
        where s.token_hash = $1 and s.revoked_at is null and staff.disabled_at is null
            and s.created_at > $2 and (s.last_seen_at > $3 or 'oncall' = any(staff.roles))
        "#,
        token.hash(),
        now - MOST_AGE,
        now - MOST_IDLE,
    )
    .fetch_optional(&mut *connection)
    .await?
    else {
        return Ok(None);
    };
    if now - row.last_seen_at >= NOTED_EVERY {
        sqlx::query!("update sessions set last_seen_at = $2 where id = $1", row.id.0, now)
            .execute(connection)
            .await?;
    }
    Ok(Some(Person {
        staff: row.staff,
        name: row.name,
        // A role that this release does not know lets nobody do anything.
        roles: Roles::stored(row.roles.iter().filter_map(|name| name.parse().ok())),
        session: row.id,
        complete: row.complete,
        stepped_up_at: row.stepped_up_at,
        csrf: token.derive("csrf"),
    }))
}

/// Those of `sessions` that are signed in with both factors and have not ended, by one statement for all. It is no use of them:
/// a page that lies open keeps nobody signed in.
///
/// # Errors
/// When the database fails.
pub async fn still_good(
    connection: &mut PgConnection,
    sessions: &[SessionId],
    now: DateTime<Utc>,
) -> Result<HashSet<SessionId>, sqlx::Error> {
    let ids: Vec<_> = sessions.iter().map(|id| id.0).collect();
    let good = sqlx::query_scalar!(
        r#"
        select s.id as "id: SessionId" from sessions s join staff on staff.id = s.staff_id
        where s.id = any($1) and s.revoked_at is null and staff.disabled_at is null and s.second_factor_at is not null
            and s.created_at > $2 and (s.last_seen_at > $3 or 'oncall' = any(staff.roles))
        "#,
        &ids,
        now - MOST_AGE,
        now - MOST_IDLE,
    )
    .fetch_all(connection)
    .await?;
    Ok(good.into_iter().collect())
}

/// A session that somebody may ask in.
#[derive(Debug, Clone, Serialize)]
pub struct OpenSession {
    /// Names it, and opens nothing.
    pub id: SessionId,
    /// Whose it is.
    pub staff: StaffId,
    /// Their name.
    pub name: String,
    /// Browser and system in a few words.
    pub agent: String,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When it was last used, to the minute.
    pub last_seen_at: DateTime<Utc>,
    /// Whether both factors were given.
    pub complete: bool,
}

/// The sessions that are open now, of one person or of all, the last used first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    connection: &mut PgConnection,
    staff: Option<StaffId>,
    now: DateTime<Utc>,
) -> Result<Vec<OpenSession>, sqlx::Error> {
    sqlx::query_as!(
        OpenSession,
        r#"
        select s.id as "id: SessionId", s.staff_id as "staff: StaffId", staff.name, s.agent, s.created_at, s.last_seen_at,
            s.second_factor_at is not null as "complete!"
        from sessions s join staff on staff.id = s.staff_id
        where ($1::uuid is null or s.staff_id = $1) and s.revoked_at is null and staff.disabled_at is null
            and s.created_at > $2 and (s.last_seen_at > $3 or 'oncall' = any(staff.roles))
        order by s.last_seen_at desc, s.id
        "#,
        staff.map(|staff| staff.0),
        now - MOST_AGE,
        now - MOST_IDLE,
    )
    .fetch_all(connection)
    .await
}

/// Ends a session. Ending it twice changes nothing.
///
/// # Errors
/// When the database fails.
pub async fn revoke(
    connection: &mut PgConnection,
    session: SessionId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!("update sessions set revoked_at = $2 where id = $1 and revoked_at is null", session.0, now)
        .execute(connection)
        .await
        .map(|_| ())
}

/// Ends all sessions of a person but one: what they may do or what proves who they are has changed.
///
/// # Errors
/// When the database fails.
pub async fn revoke_all(
    connection: &mut PgConnection,
    staff: StaffId,
    except: Option<SessionId>,
    now: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "update sessions set revoked_at = $3
         where staff_id = $1 and revoked_at is null and id is distinct from $2",
        staff.0,
        except.map(|session| session.0),
        now,
    )
    .execute(connection)
    .await
    .map(|ended| ended.rows_affected())
}

/// Notes that a factor was given again.
///
/// # Errors
/// When the database fails.
pub async fn step_up(
    connection: &mut PgConnection,
    session: SessionId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sessions set stepped_up_at = $2 where id = $1 and revoked_at is null",
        session.0,
        now
    )
    .execute(connection)
    .await
    .map(|_| ())
}
