//! Tries in vain: each makes the next one wait longer, and ten lock the credential.
//!
//! A try is counted before it is judged, so that guesses sent at once do not share one count; a right one clears it. Counts are
//! kept for each person and credential, so whoever guesses passwords locks the password and nothing else: passkeys, and the
//! code that somebody who is signed in gives again, stay as they were. A try that must not count is not judged at all.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::auth::staff::StaffId;

/// What can be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// The password.
    Password,
    /// The code of the authenticator app.
    Code,
}

impl Credential {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Code => "code",
        }
    }
}

/// So many tries in vain lock a credential (Amazon's data protection policy: at most ten).
pub const MOST: i32 = 10;
/// Seconds before the next try counts, after each one in vain: two slips of the finger cost nothing.
const WAITS: [f64; MOST as usize] = [0.0, 0.0, 1.0, 3.0, 5.0, 10.0, 20.0, 40.0, 60.0, 60.0];

/// Whether a try counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try {
    /// It counts, and was counted as one in vain until it is cleared.
    Counts {
        /// How many there were, this one included.
        tries: i32,
    },
    /// Too early, locked, or nobody's.
    Refused,
}

/// Counts a try before it is judged.
///
/// # Errors
/// When the database fails.
pub async fn count(
    connection: &mut PgConnection,
    staff: StaffId,
    credential: Credential,
    now: DateTime<Utc>,
) -> Result<Try, sqlx::Error> {
    let tries = sqlx::query_scalar!(
        r#"
        insert into wrong_tries as t (staff_id, credential, tries, next_at)
        select id, $2, 1, $3 from staff where id = $1
        on conflict (staff_id, credential) do update
        set tries = t.tries + 1, next_at = $3 + ($4::float8[])[t.tries + 1] * interval '1 second'
        where t.next_at <= $3 and t.tries < $5
        returning tries
        "#,
        staff.0,
        credential.name(),
        now,
        &WAITS,
        MOST,
    )
    .fetch_optional(connection)
    .await?;
    Ok(tries.map_or(Try::Refused, |tries| Try::Counts { tries }))
}

/// Forgets the tries of one credential: the last one was right.
///
/// # Errors
/// When the database fails.
pub async fn clear(
    connection: &mut PgConnection,
    staff: StaffId,
    credential: Credential,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from wrong_tries where staff_id = $1 and credential = $2",
        staff.0,
        credential.name()
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Opens whatever is locked of a person: they proved who they are otherwise, or an admin knows them.
///
/// # Errors
/// When the database fails.
pub async fn open(connection: &mut PgConnection, staff: StaffId) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from wrong_tries where staff_id = $1", staff.0).execute(connection).await.map(|_| ())
}

/// What is locked of a person.
///
/// # Errors
/// When the database fails.
pub async fn locked(connection: &mut PgConnection, staff: StaffId) -> Result<Vec<Credential>, sqlx::Error> {
    let names = sqlx::query_scalar!(
        "select credential from wrong_tries where staff_id = $1 and tries >= $2 order by credential",
        staff.0,
        MOST
    )
    .fetch_all(connection)
    .await?;
    Ok([Credential::Code, Credential::Password]
        .into_iter()
        .filter(|credential| names.iter().any(|name| name == credential.name()))
        .collect())
}

/// How long a person waits at most until a try counts that is not locked.
pub const LONGEST_WAIT: TimeDelta = TimeDelta::seconds(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_the_longest_is_as_said() {
        assert!(WAITS.is_sorted());
        let longest = LONGEST_WAIT.num_seconds() as f64;
        assert!((WAITS[WAITS.len() - 1] - longest).abs() < f64::EPSILON);
    }
}
