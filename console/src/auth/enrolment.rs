//! Enrolling: what a person with an invitation chooses to sign in with, a passkey or a password with an authenticator app.
//!
//! The invitation is used up in the transaction that enrols, so it is used once, and only by what succeeded. Whatever the
//! person was signed in with before ends.

use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use jobs::keyring::{Keyring, Sealed};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use thiserror::Error;

use crate::auth::{
    Token,
    authenticators::{self, AuthenticatorError, ToScan},
    ceremonies::{self, CeremonyError, Purpose},
    invitations::{self, Invitation},
    passkeys::{Answer, Begun, PasskeyError},
    passwords::{self, PasswordError},
    recovery, session,
    sign_in::{self, Factor, SignIn},
    staff::StaffId,
};

/// Why nothing was enrolled.
#[derive(Debug, Error)]
pub enum EnrolmentError {
    /// The link was used, replaced or has ended.
    #[error("this link was used, replaced by a later one, or is older than a day; ask for a new one")]
    NoInvitation,
    /// There is no key to encrypt with.
    #[error(
        "authenticator apps do not work here: the console was started without AMZIGO_KEYS; take a passkey"
    )]
    NoKeys,
    /// The code is not one of this app.
    #[error("the code is not right: type the one that the app shows now")]
    WrongCode(Box<Scanning>),
    /// The password may not be taken.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The app could not be enrolled.
    #[error(transparent)]
    Authenticator(#[from] AuthenticatorError),
    /// The passkey was not accepted.
    #[error(transparent)]
    Passkey(#[from] PasskeyError),
    /// It took too long.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// An app that has to be told the secret, and then to show that it has it.
pub struct Scanning {
    /// What the next form brings.
    pub ceremony: String,
    /// What the app is told.
    pub to_scan: ToScan,
}

impl std::fmt::Debug for Scanning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scanning(…)")
    }
}

/// Somebody who is enrolled, and signed in.
#[derive(Debug)]
pub struct Welcome {
    /// Their session.
    pub session: Token,
    /// Their recovery codes, to be shown once.
    pub recovery_codes: Vec<String>,
}

/// What is remembered until the app has shown that it has the secret.
#[derive(Serialize, Deserialize)]
struct Pending {
    password_hash: Option<String>,
    seed: String,
    seed_key: String,
}

impl Pending {
    fn seed(&self) -> Result<Sealed, EnrolmentError> {
        let bytes = BASE64_STANDARD
            .decode(&self.seed)
            .map_err(|error| AuthenticatorError::Seed(error.to_string()))?;
        Ok(Sealed { key_id: self.seed_key.clone(), bytes })
    }
}

impl SignIn {
    /// Asks the device of whoever has the link for a new passkey.
    ///
    /// # Errors
    /// When the link leads nowhere, there are no passkeys here, or the database fails.
    pub async fn ask_new_passkey(
        &self,
        connection: &mut PgConnection,
        staff: StaffId,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<Begun, EnrolmentError> {
        let passkeys = self.passkeys.as_ref().ok_or(PasskeyError::Absent)?;
        Ok(passkeys.begin_enrolment(connection, staff, name, now).await?)
    }

    /// Enrols a passkey for an invitation.
    ///
    /// # Errors
    /// When the link leads nowhere, the passkey is not accepted, or the database fails.
    pub async fn accept_with_passkey(
        &self,
        pool: &PgPool,
        link: &Token,
        answer: &Answer,
        agent: &str,
        now: DateTime<Utc>,
    ) -> Result<Welcome, EnrolmentError> {
        let passkeys = self.passkeys.as_ref().ok_or(PasskeyError::Absent)?;
        let mut transaction = pool.begin().await?;
        let invitation = invited(&mut transaction, link, now).await?;
        passkeys.finish_enrolment(&mut transaction, invitation.staff, answer, agent, now).await?;
        let welcome = welcome(&mut transaction, &invitation, "a passkey", agent, now).await?;
        transaction.commit().await?;
        sign_in::done(Factor::Invitation, invitation.staff);
        Ok(welcome)
    }

    /// Takes a password for now, and makes the secret for an authenticator app.
    ///
    /// # Errors
    /// When the link leads nowhere, the password may not be taken, there is no key ring, or the database fails.
    pub async fn accept_password(
        &self,
        pool: &PgPool,
        link: &Token,
        password: &str,
        now: DateTime<Utc>,
    ) -> Result<Scanning, EnrolmentError> {
        let mut connection = pool.acquire().await?;
        let invitation = invited(&mut connection, link, now).await?;
        let Invitation { staff, name, .. } = &invitation;
        let hash = passwords::prepare(&mut connection, &self.hashing, *staff, name, password).await?;
        self.scan(&mut connection, *staff, name, Some(hash), now).await
    }

    /// Enrols the password and the app for an invitation, when the app shows a right code.
    ///
    /// # Errors
    /// When the link leads nowhere, the code is wrong (it can be tried again), it took too long, or the database fails.
    pub async fn accept_code(
        &self,
        pool: &PgPool,
        link: &Token,
        ceremony: &str,
        code: &str,
        agent: &str,
        now: DateTime<Utc>,
    ) -> Result<Welcome, EnrolmentError> {
        let mut connection = pool.acquire().await?;
        let invitation = invited(&mut connection, link, now).await?;
        let Invitation { staff, name, .. } = &invitation;
        let enrols = self.read_code(&mut connection, *staff, name, ceremony, code, now).await?;
        drop(connection);
        let mut transaction = pool.begin().await?;
        enrols.write(&mut transaction, *staff, now).await?;
        let welcome =
            welcome(&mut transaction, &invitation, "a password and an authenticator app", agent, now).await?;
        transaction.commit().await?;
        sign_in::done(Factor::Invitation, *staff);
        Ok(welcome)
    }

    /// Makes the secret for an app; `password_hash` is of a password that is set with it.
    ///
    /// # Errors
    /// When there is no key ring, or the database fails.
    pub async fn scan(
        &self,
        connection: &mut PgConnection,
        staff: StaffId,
        name: &str,
        password_hash: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<Scanning, EnrolmentError> {
        let keyring = self.keyring.as_ref().ok_or(EnrolmentError::NoKeys)?;
        let seed = authenticators::seed(keyring, staff)?;
        let pending =
            Pending { password_hash, seed: BASE64_STANDARD.encode(&seed.bytes), seed_key: seed.key_id };
        ask_for_code(connection, keyring, staff, name, &pending, now).await
    }

    /// Whether the app that was told the secret shows a right code; what it then enrols.
    ///
    /// # Errors
    /// When the code is wrong (with what is needed to try again), it took too long, or the database fails.
    pub async fn read_code(
        &self,
        connection: &mut PgConnection,
        staff: StaffId,
        name: &str,
        ceremony: &str,
        code: &str,
        now: DateTime<Utc>,
    ) -> Result<Enrols, EnrolmentError> {
        let keyring = self.keyring.as_ref().ok_or(EnrolmentError::NoKeys)?;
        let pending: Pending =
            ceremonies::take(connection, ceremony, Purpose::PasswordEnrolment, Some(staff), now).await?;
        let seed = pending.seed()?;
        match authenticators::step_of(keyring, staff, &seed, code, now)? {
            Some(step) => Ok(Enrols { password_hash: pending.password_hash, seed, step }),
            None => {
                let again = ask_for_code(connection, keyring, staff, name, &pending, now).await?;
                Err(EnrolmentError::WrongCode(Box::new(again)))
            }
        }
    }
}

/// What a right code enrols.
#[derive(Debug)]
pub struct Enrols {
    password_hash: Option<String>,
    seed: Sealed,
    step: i64,
}

impl Enrols {
    /// Enrols it. Belongs into a transaction.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn write(
        &self,
        connection: &mut PgConnection,
        staff: StaffId,
        now: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        if let Some(hash) = &self.password_hash {
            passwords::set(connection, staff, hash, now).await?;
        }
        authenticators::enrol(connection, staff, &self.seed, self.step, now).await
    }
}

async fn ask_for_code(
    connection: &mut PgConnection,
    keyring: &Keyring,
    staff: StaffId,
    name: &str,
    pending: &Pending,
    now: DateTime<Utc>,
) -> Result<Scanning, EnrolmentError> {
    let to_scan = authenticators::to_scan(keyring, staff, name, &pending.seed()?)?;
    let token = ceremonies::begin(connection, Purpose::PasswordEnrolment, Some(staff), pending, now).await?;
    Ok(Scanning { ceremony: token.text(), to_scan })
}

/// The invitation of a link.
///
/// # Errors
/// When it leads nowhere, or the database fails.
pub async fn invited(
    connection: &mut PgConnection,
    link: &Token,
    now: DateTime<Utc>,
) -> Result<Invitation, EnrolmentError> {
    invitations::find(connection, link, now).await?.ok_or(EnrolmentError::NoInvitation)
}

async fn welcome(
    connection: &mut PgConnection,
    invitation: &Invitation,
    what: &str,
    agent: &str,
    now: DateTime<Utc>,
) -> Result<Welcome, EnrolmentError> {
    let staff = invitation.staff;
    if !invitations::end(connection, invitation.id, now).await? {
        return Err(EnrolmentError::NoInvitation);
    }
    session::revoke_all(connection, staff, None, now).await?;
    let recovery_codes = recovery::make(connection, staff, now).await?;
    let reason = format!("accepted the invitation with {what}");
    sign_in::record(connection, &invitation.name, "staff.enrol", staff, &reason, now).await?;
    let session = session::open(connection, staff, agent, true, now).await?;
    Ok(Welcome { session, recovery_codes })
}
