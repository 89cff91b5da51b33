//! The demo's way in: a link that signs in, once, a person who may do everything.
//!
//! Only `amzigo serve --demo` makes one, which is refused where Amazon's data or other people could be reached. The process
//! keeps the hash of the link's token and nothing else of it; whoever restarts the console gets a new link. The person is made
//! only where nobody else is, so that a database with staff of its own never gets one.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::constant_time;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use thiserror::Error;

use crate::auth::{
    Role, Roles, Token, session,
    staff::{self, StaffId},
};

/// The handle of the person.
pub const NAME: &str = "demo";
/// How long a link opens something.
pub const MOST_AGE: TimeDelta = TimeDelta::hours(1);

/// Why there is no demo here.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The database is used by people.
    #[error(
        "the database has members of staff ({0} among them); the demo signs somebody in who may do everything, so it wants a \
         database of its own. `cargo xtask demo` makes one"
    )]
    HasStaff(String),
    /// An admin ended it.
    #[error("the member of staff `demo` is disabled in this database; use another one")]
    Disabled,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// A link that opens one session.
#[derive(Debug)]
pub struct DemoLink {
    staff: StaffId,
    token_hash: Vec<u8>,
    made_at: DateTime<Utc>,
    used: AtomicBool,
}

impl DemoLink {
    /// A link for the demo's person, who is made when nobody is there yet; and its token.
    ///
    /// # Errors
    /// When the database has staff of its own, or fails.
    pub async fn make(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<(Self, Token), DemoError> {
        // By birth: in a database of the demo's own its person is the first.
        let first = sqlx::query!(
            r#"select id as "id: StaffId", name, disabled_at from staff order by created_at, id limit 1"#
        )
        .fetch_optional(&mut *connection)
        .await?;
        let staff = match first {
            Some(other) if other.name != NAME => return Err(DemoError::HasStaff(other.name)),
            Some(demo) if demo.disabled_at.is_some() => return Err(DemoError::Disabled),
            Some(demo) => demo.id,
            // Duties that are in different hands elsewhere are in one here, where there is only one pair.
            None => staff::add(connection, NAME, &Roles::stored(Role::ALL), now).await?,
        };
        let token = Token::new();
        let link = Self { staff, token_hash: token.hash(), made_at: now, used: AtomicBool::new(false) };
        Ok((link, token))
    }

    /// Opens the session. `None` when this is not the token, or it was used before, or long ago made.
    ///
    /// # Errors
    /// When the database fails; the link is used up all the same.
    pub async fn open(
        &self,
        connection: &mut PgConnection,
        token: &Token,
        agent: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Token>, sqlx::Error> {
        let is_it = constant_time::verify_slices_are_equal(&self.token_hash, &token.hash()).is_ok();
        if !is_it || now - self.made_at > MOST_AGE || self.used.swap(true, Ordering::SeqCst) {
            return Ok(None);
        }
        session::open(connection, self.staff, agent, true, now).await.map(Some)
    }
}
