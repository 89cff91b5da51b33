//! Authenticator apps: six digits that change every half minute (TOTP), beside a password.
//!
//! A code counts once: the half minute of the last one that was taken is stored, and only a later one is taken, by one
//! statement. Codes of this half minute and of the one before are taken, because typing takes time; never one to come. The
//! shared secret is encrypted, and bound to its row.

use chrono::{DateTime, Utc};
use jobs::keyring::{Keyring, KeyringError, Sealed};
use runtime::secret::{ExposeSecret, SecretString};
use sqlx::PgConnection;
use thiserror::Error;
use totp_rs::{Algorithm, Builder, Secret, Totp, TotpError};

use crate::auth::staff::StaffId;

/// Who the app shows the code for.
const ISSUER: &str = "Amzigo";
/// How long a code is shown, in seconds.
const STEP_SECONDS: u64 = 30;

/// Why an app could not be enrolled or asked.
#[derive(Debug, Error)]
pub enum AuthenticatorError {
    /// The seed cannot be read.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The seed is none.
    #[error("the seed of an authenticator app is not one: {0}")]
    Seed(String),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<TotpError> for AuthenticatorError {
    fn from(error: TotpError) -> Self {
        Self::Seed(error.to_string())
    }
}

/// A new seed, encrypted for this person.
///
/// # Errors
/// When it cannot be encrypted.
pub fn seed(keyring: &Keyring, staff: StaffId) -> Result<Sealed, AuthenticatorError> {
    let seed = SecretString::from(Secret::generate().to_base32());
    Ok(keyring.seal(&seed, &place(staff))?)
}

/// What the app has to be told.
pub struct ToScan {
    /// As a link, for the picture.
    pub link: SecretString,
    /// The secret, to be typed where no picture can be taken.
    pub secret: SecretString,
}

/// What the app of this person has to be told.
///
/// # Errors
/// When the seed cannot be read.
pub fn to_scan(
    keyring: &Keyring,
    staff: StaffId,
    name: &str,
    seed: &Sealed,
) -> Result<ToScan, AuthenticatorError> {
    let totp = totp(keyring, staff, name, seed)?;
    Ok(ToScan { link: totp.to_url()?.into(), secret: totp.secret().to_base32().into() })
}

/// The half minute that a code belongs to; `None` when it is wrong or not of now.
///
/// # Errors
/// When the seed cannot be read.
pub fn step_of(
    keyring: &Keyring,
    staff: StaffId,
    seed: &Sealed,
    code: &str,
    now: DateTime<Utc>,
) -> Result<Option<i64>, AuthenticatorError> {
    let totp = totp(keyring, staff, "", seed)?;
    let code: String = code.chars().filter(|letter| !letter.is_whitespace()).collect();
    let now = u64::try_from(now.timestamp()).unwrap_or_default();
    let step = totp.check(&code, now).or_else(|| totp.check(&code, now.saturating_sub(STEP_SECONDS)));
    Ok(step.and_then(|step| i64::try_from(step).ok()))
}

/// Makes this the person's app; `step` is that of the code which proved that the app has the seed.
///
/// # Errors
/// When the database fails.
pub async fn enrol(
    connection: &mut PgConnection,
    staff: StaffId,
    seed: &Sealed,
    step: i64,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into authenticators (staff_id, seed, seed_key, last_step, created_at) values ($1, $2, $3, $4, $5)
         on conflict (staff_id) do update
         set seed = excluded.seed, seed_key = excluded.seed_key, last_step = excluded.last_step,
             created_at = excluded.created_at",
        staff.0,
        seed.bytes,
        seed.key_id,
        step,
        now,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Takes a code, once; `false` when it is wrong, old, or was taken.
///
/// # Errors
/// When the seed cannot be read, or the database fails.
pub async fn take(
    connection: &mut PgConnection,
    keyring: &Keyring,
    staff: StaffId,
    code: &str,
    now: DateTime<Utc>,
) -> Result<bool, AuthenticatorError> {
    let row = sqlx::query!("select seed, seed_key from authenticators where staff_id = $1", staff.0)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(false) };
    let seed = Sealed { key_id: row.seed_key, bytes: row.seed };
    let Some(step) = step_of(keyring, staff, &seed, code, now)? else { return Ok(false) };
    let taken = sqlx::query!(
        "update authenticators set last_step = $2 where staff_id = $1 and last_step < $2",
        staff.0,
        step
    )
    .execute(connection)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Takes the app away.
///
/// # Errors
/// When the database fails.
pub async fn remove(connection: &mut PgConnection, staff: StaffId) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from authenticators where staff_id = $1", staff.0)
        .execute(connection)
        .await
        .map(|_| ())
}

fn place(staff: StaffId) -> String {
    format!("authenticators.seed/{staff}")
}

fn totp(keyring: &Keyring, staff: StaffId, name: &str, seed: &Sealed) -> Result<Totp, AuthenticatorError> {
    let seed = keyring.open(seed, &place(staff))?;
    let secret = Secret::try_from_base32(seed.expose_secret())
        .map_err(|error| AuthenticatorError::Seed(error.to_string()))?;
    Ok(Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_step_duration(STEP_SECONDS)
        .with_skew(0)
        .with_secret(secret)
        .with_issuer(Some(ISSUER))
        .with_account_name(name)
        .build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_counts_in_its_half_minute_and_the_next_and_for_its_owner() {
        let keyring: Keyring = Keyring::generate("test").expect("random").parse().expect("a ring");
        let (staff, other) = (StaffId::new(), StaffId::new());
        let seed = seed(&keyring, staff).expect("it seals");
        let at = |seconds: i64| DateTime::from_timestamp(seconds, 0).expect("a moment");
        let code = totp(&keyring, staff, "ann", &seed).expect("a seed").generate(3_000).to_string();
        let step = |now| step_of(&keyring, staff, &seed, &code, at(now)).expect("a seed");
        for now in [3_000, 3_029, 3_030, 3_059] {
            assert_eq!(step(now), Some(100), "{now}");
        }
        assert_eq!((step(2_999), step(3_060)), (None, None));
        let spaced = format!("{} {}", &code[..3], &code[3..]);
        assert_eq!(step_of(&keyring, staff, &seed, &spaced, at(3_000)).expect("a seed"), Some(100));
        assert!(step_of(&keyring, other, &seed, &code, at(3_000)).is_err(), "it is bound to its row");
        let scan = to_scan(&keyring, staff, "ann", &seed).expect("a seed");
        assert!(scan.link.expose_secret().starts_with("otpauth://totp/Amzigo:ann?secret="));
    }
}
