//! Giving a factor again, before something dangerous. Whoever did may do such things for ten minutes.
//!
//! A code of the app or an answer of a passkey counts once, as at the sign-in. Tries in vain are counted with those of the
//! second factor, which nobody can reach who has neither a session nor the password: so guessing keeps no one on call from
//! acting.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::auth::{
    Person, authenticators,
    passkeys::{Answer, Begun, PasskeyError},
    session,
    sign_in::{SignIn, SignInError},
    tries::{self, Credential, Try},
};

impl SignIn {
    /// Asks for one of the person's passkeys.
    ///
    /// # Errors
    /// When they have none, there are none here, or the database fails.
    pub async fn ask_passkey_again(
        &self,
        pool: &PgPool,
        person: &Person,
        now: DateTime<Utc>,
    ) -> Result<Begun, SignInError> {
        let passkeys = self.passkeys.as_ref().ok_or(PasskeyError::Absent)?;
        let mut transaction = pool.begin().await?;
        let begun = passkeys.begin_step_up(&mut transaction, person.staff, now).await?;
        transaction.commit().await?;
        Ok(begun)
    }

    /// Accepts a passkey again.
    ///
    /// # Errors
    /// When it is not accepted, or the database fails.
    pub async fn passkey_again(
        &self,
        pool: &PgPool,
        person: &Person,
        answer: &Answer,
        now: DateTime<Utc>,
    ) -> Result<(), SignInError> {
        let passkeys = self.passkeys.as_ref().ok_or(PasskeyError::Absent)?;
        let mut transaction = pool.begin().await?;
        if let Err(error) = passkeys.finish_step_up(&mut transaction, person.staff, answer, now).await {
            // The ceremony is over, whatever came of it; a database that failed has nothing to commit.
            transaction.commit().await?;
            tracing::warn!(staff.id = %person.staff, factor = "passkey", "a step-up was refused");
            return Err(error.into());
        }
        session::step_up(&mut transaction, person.session, now).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Accepts a code of the app again.
    ///
    /// # Errors
    /// When it is not right, was taken before, or was tried too often; or the database fails.
    pub async fn code_again(
        &self,
        pool: &PgPool,
        person: &Person,
        code: &str,
        now: DateTime<Utc>,
    ) -> Result<(), SignInError> {
        let keyring = self.keyring.as_ref().ok_or(SignInError::NoKeys)?;
        let counted = tries::count(&mut *pool.acquire().await?, person.staff, Credential::Code, now).await?;
        let mut transaction = pool.begin().await?;
        if counted == Try::Refused
            || !authenticators::take(&mut transaction, keyring, person.staff, code, now).await?
        {
            tracing::warn!(staff.id = %person.staff, factor = "code", "a step-up was refused");
            return Err(SignInError::Refused);
        }
        tries::clear(&mut transaction, person.staff, Credential::Code).await?;
        session::step_up(&mut transaction, person.session, now).await?;
        transaction.commit().await?;
        Ok(())
    }
}
