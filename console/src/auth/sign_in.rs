//! Signing in: by a passkey, or by a password and then a code. Whoever did is given a new session.
//!
//! A try is counted and committed before it is judged, so that nobody guesses for free by hanging up. Names that do not exist
//! are answered like wrong passwords, in as much time. Every sign-in, done or refused, is logged by ids and counted. Repeating
//! one opens another session; a code, an answer of a passkey and a recovery code count once.

use chrono::{DateTime, Utc};
use jobs::keyring::Keyring;
use metrics::counter;
use sqlx::{PgConnection, PgPool};
use thiserror::Error;

use crate::{
    auth::{
        Person, Token,
        authenticators::{self, AuthenticatorError},
        ceremonies::CeremonyError,
        hashing::{Hashing, HashingError},
        limits::Limits,
        passkeys::{Answer, Begun, PasskeyError, Passkeys},
        passwords::{self, PasswordError},
        recovery, session,
        staff::{self, StaffId},
        tries::{self, Credential, Try},
    },
    ops::{Act, Via},
    origin::Origin,
};

/// What signing in needs beside the database.
#[derive(Debug)]
pub struct SignIn {
    /// Encrypts what authenticator apps share with us; without it there are none.
    pub keyring: Option<Keyring>,
    /// Asks for passkeys; without it there are none.
    pub passkeys: Option<Passkeys>,
    /// Hashes passwords.
    pub hashing: Hashing,
    /// How often one address may try.
    pub limits: Limits,
}

/// What proved who somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    /// A passkey.
    Passkey,
    /// A password, the first of two.
    Password,
    /// A code of an authenticator app.
    Code,
    /// A recovery code.
    RecoveryCode,
    /// A link, and what was enrolled with it.
    Invitation,
}

impl Factor {
    const fn name(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Password => "password",
            Self::Code => "code",
            Self::RecoveryCode => "recovery_code",
            Self::Invitation => "invitation",
        }
    }
}

/// Why nobody was signed in.
#[derive(Debug, Error)]
pub enum SignInError {
    /// It proves nothing. On purpose it does not say why.
    #[error("it was not accepted")]
    Refused,
    /// The password has ended, and no new one was given.
    #[error("your password is a year old; choose another one")]
    PasswordEnded,
    /// There is no key that seeds of authenticator apps are encrypted with.
    #[error("authenticator apps do not work here: the console was started without AMZIGO_KEYS")]
    NoKeys,
    /// The new password was not taken.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// Too many at once.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// The app could not be asked.
    #[error(transparent)]
    Authenticator(#[from] AuthenticatorError),
    /// The passkey was not accepted.
    #[error(transparent)]
    Passkey(#[from] PasskeyError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl SignIn {
    /// For the console at this origin.
    ///
    /// # Errors
    /// When the host has no random numbers.
    pub fn new(origin: &Origin, keyring: Option<Keyring>) -> Result<Self, HashingError> {
        Ok(Self {
            keyring,
            passkeys: Passkeys::of(origin),
            hashing: Hashing::new()?,
            limits: Limits::default(),
        })
    }

    /// Asks for any passkey of ours.
    ///
    /// # Errors
    /// When there are no passkeys here, or the database fails.
    pub async fn ask_passkey(&self, pool: &PgPool, now: DateTime<Utc>) -> Result<Begun, SignInError> {
        let passkeys = self.passkeys.as_ref().ok_or(PasskeyError::Absent)?;
        Ok(passkeys.begin_sign_in(&mut *pool.acquire().await?, now).await?)
    }

    /// Signs in whoever's passkey answered, and opens what guesses have locked.
    ///
    /// # Errors
    /// When the passkey is not accepted, or the database fails.
    pub async fn with_passkey(
        &self,
        pool: &PgPool,
        answer: &Answer,
        agent: &str,
        now: DateTime<Utc>,
    ) -> Result<Token, SignInError> {
        let passkeys = self.passkeys.as_ref().ok_or(PasskeyError::Absent)?;
        let mut transaction = pool.begin().await?;
        let staff = match passkeys.finish_sign_in(&mut transaction, answer, now).await {
            Ok(staff) => staff,
            Err(PasskeyError::Database(error) | PasskeyError::Ceremony(CeremonyError::Database(error))) => {
                return Err(error.into());
            }
            Err(error) => {
                // The ceremony is over, whatever came of it.
                transaction.commit().await?;
                refused(Factor::Passkey, None);
                return Err(error.into());
            }
        };
        tries::open(&mut transaction, staff).await?;
        let token = session::open(&mut transaction, staff, agent, true, now).await?;
        transaction.commit().await?;
        done(Factor::Passkey, staff);
        Ok(token)
    }

    /// Opens half a session for whoever has this name and password: it opens nothing but the page for the second factor.
    ///
    /// # Errors
    /// When they are not right, or it was tried too often, without saying which; or the database fails.
    pub async fn with_password(
        &self,
        pool: &PgPool,
        name: &str,
        password: &str,
        agent: &str,
        now: DateTime<Utc>,
    ) -> Result<Token, SignInError> {
        let (staff, hash) = self.named(pool, &handle(name)).await?;
        let counted = tries::count(&mut *pool.acquire().await?, staff, Credential::Password, now).await?;
        let right = self.hashing.is_right(password, hash).await?;
        if !right || counted == Try::Refused {
            in_vain(Factor::Password, Credential::Password, staff, counted);
            return Err(SignInError::Refused);
        }
        let mut transaction = pool.begin().await?;
        tries::clear(&mut transaction, staff, Credential::Password).await?;
        let token = session::open(&mut transaction, staff, agent, false, now).await?;
        transaction.commit().await?;
        done(Factor::Password, staff);
        Ok(token)
    }

    /// Completes half a session: it ends, and a whole one is opened. `code` is one of the app, or a recovery code.
    ///
    /// # Errors
    /// When the code is not right, was taken before, or was tried too often; when the password has ended and the new one is
    /// missing or may not be taken; or the database fails.
    pub async fn with_code(
        &self,
        pool: &PgPool,
        half: &Person,
        code: &str,
        new_password: Option<&str>,
        agent: &str,
        now: DateTime<Utc>,
    ) -> Result<Token, SignInError> {
        let staff = half.staff;
        let mut connection = pool.acquire().await?;
        let held = passwords::held(&mut connection, staff).await?.ok_or(SignInError::Refused)?;
        let new_hash = match (held.has_ended(now), new_password) {
            (false, _) => None,
            (true, None) => return Err(SignInError::PasswordEnded),
            (true, Some(password)) => {
                Some(passwords::prepare(&mut connection, &self.hashing, staff, &half.name, password).await?)
            }
        };
        let factor = if recovery::looks_like_one(code) { Factor::RecoveryCode } else { Factor::Code };
        let counted = match factor {
            // Nobody guesses one, and it has to work where guesses have locked the app.
            Factor::RecoveryCode => Try::Counts { tries: 0 },
            _ => tries::count(&mut connection, staff, Credential::Code, now).await?,
        };
        drop(connection);
        let mut transaction = pool.begin().await?;
        let right = counted != Try::Refused
            && match factor {
                Factor::RecoveryCode => {
                    use_recovery_code(&mut transaction, staff, &half.name, code, now).await?
                }
                _ => {
                    let keyring = self.keyring.as_ref().ok_or(SignInError::NoKeys)?;
                    authenticators::take(&mut transaction, keyring, staff, code, now).await?
                }
            };
        if !right {
            in_vain(factor, Credential::Code, staff, counted);
            return Err(SignInError::Refused);
        }
        tries::clear(&mut transaction, staff, Credential::Code).await?;
        if let Some(hash) = new_hash {
            passwords::set(&mut transaction, staff, &hash, now).await?;
            session::revoke_all(&mut transaction, staff, None, now).await?;
        }
        session::revoke(&mut transaction, half.session, now).await?;
        let token = session::open(&mut transaction, staff, agent, true, now).await?;
        transaction.commit().await?;
        done(factor, staff);
        Ok(token)
    }

    /// Signs in by a name, a password and a recovery code, also where guesses have locked the password. The code is used up
    /// and opens what was locked, even when the password turns out to be wrong.
    ///
    /// # Errors
    /// When they are not right, or the password has ended, without saying which; or the database fails.
    pub async fn with_recovery_code(
        &self,
        pool: &PgPool,
        name: &str,
        password: &str,
        code: &str,
        agent: &str,
        now: DateTime<Utc>,
    ) -> Result<Token, SignInError> {
        let name = &handle(name);
        let (staff, hash) = self.named(pool, name).await?;
        let mut transaction = pool.begin().await?;
        let known = use_recovery_code(&mut transaction, staff, name, code, now).await?;
        transaction.commit().await?;
        let right = self.hashing.is_right(password, hash).await?;
        let mut transaction = pool.begin().await?;
        let ended = passwords::held(&mut transaction, staff).await?.is_none_or(|held| held.has_ended(now));
        if !known || !right || ended {
            refused(Factor::RecoveryCode, Some(staff));
            return Err(SignInError::Refused);
        }
        let token = session::open(&mut transaction, staff, agent, true, now).await?;
        transaction.commit().await?;
        done(Factor::RecoveryCode, staff);
        Ok(token)
    }

    /// The person of this name and their password's hash; where there is none, somebody that nothing is right for.
    async fn named(&self, pool: &PgPool, name: &str) -> Result<(StaffId, Option<String>), sqlx::Error> {
        let row = sqlx::query!(
            r#"
            select staff.id as "id: StaffId", p.hash as "hash?" from staff
            left join passwords p on p.staff_id = staff.id and p.ended_at is null
            where staff.name = $1 and staff.disabled_at is null
            "#,
            name,
        )
        .fetch_optional(pool)
        .await?;
        Ok(row.map_or((staff::NOBODY, None), |row| (row.id, row.hash)))
    }
}

/// A name as the table has it; nobody's where it can be nobody's, which is asked for all the same.
fn handle(typed: &str) -> String {
    let name = typed.trim().to_lowercase();
    if staff::is_name(&name) { name } else { String::new() }
}

/// Uses a recovery code up, tells the audit log, and opens what guesses have locked.
async fn use_recovery_code(
    connection: &mut PgConnection,
    staff: StaffId,
    name: &str,
    code: &str,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    if !recovery::use_up(connection, staff, code, now).await? {
        return Ok(false);
    }
    tries::open(connection, staff).await?;
    record(connection, name, "staff.recovery_code", staff, "signing in without the authenticator app", now)
        .await?;
    Ok(true)
}

/// Writes what a person did to their own factors.
pub(crate) async fn record(
    connection: &mut PgConnection,
    name: &str,
    action: &str,
    staff: StaffId,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let act = Act::new(name, reason).map_err(|error| sqlx::Error::Encode(error.into()))?;
    act.via(Via::Console).record(connection, action, &staff.to_string(), now).await
}

/// Tells that somebody was signed in.
pub(crate) fn done(factor: Factor, staff: StaffId) {
    counter!("sign_ins_total", "factor" => factor.name(), "outcome" => "done").increment(1);
    tracing::info!(staff.id = %staff, factor = factor.name(), "signed in");
}

fn refused(factor: Factor, staff: Option<StaffId>) {
    counter!("sign_ins_total", "factor" => factor.name(), "outcome" => "refused").increment(1);
    // Nobody is no id that anybody could look up.
    let staff = staff.filter(|staff| *staff != staff::NOBODY).map(|staff| staff.to_string());
    tracing::warn!(staff.id = staff, factor = factor.name(), "a sign-in was refused");
}

fn in_vain(factor: Factor, credential: Credential, staff: StaffId, counted: Try) {
    refused(factor, Some(staff));
    if counted == (Try::Counts { tries: tries::MOST }) {
        counter!("sign_ins_total", "factor" => factor.name(), "outcome" => "locked").increment(1);
        tracing::warn!(staff.id = %staff, factor = credential.name(), "guesses have locked a credential");
    }
}
