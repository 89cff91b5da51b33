//! The ceremonies of passkeys: enrolling one, signing in with one without a name, giving one again.
//!
//! A device must verify its owner (a PIN, a finger, a face), so a passkey is both factors at once. What was asked is kept on the
//! server and taken once (see [`ceremonies`]): an answer that was recorded counts for nothing. A device whose counter goes back
//! has been copied, and is refused.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use webauthn_rs::prelude::{
    CreationChallengeResponse, DiscoverableAuthentication, Passkey, PasskeyAuthentication,
    PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, RequestChallengeResponse,
    Webauthn, WebauthnBuilder, WebauthnError,
};

use crate::{
    auth::{
        ceremonies::{self, Purpose},
        factors::PasskeyId,
        passkeys::{Answer, Begun, PasskeyError},
        staff::StaffId,
    },
    origin::Origin,
};

/// What devices show as the place that asks.
const ASKED_BY: &str = "Amzigo console";

/// Asks for passkeys that belong to one origin.
#[derive(Debug)]
pub struct Passkeys {
    webauthn: Webauthn,
}

impl From<WebauthnError> for PasskeyError {
    fn from(error: WebauthnError) -> Self {
        // Its words name what was wrong with the answer, and quote nothing of it.
        Self::Refused(error.to_string())
    }
}

impl Passkeys {
    /// Of this origin; `None` where it has no name that passkeys could belong to.
    #[must_use]
    pub fn of(origin: &Origin) -> Option<Self> {
        let builder = WebauthnBuilder::new(origin.host(), origin.url()).ok()?;
        let webauthn = builder.rp_name(ASKED_BY).timeout(ceremonies::GOOD_FOR.to_std().ok()?).build().ok()?;
        Some(Self { webauthn })
    }

    /// Asks a person's device to make a passkey.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_enrolment(
        &self,
        connection: &mut PgConnection,
        staff: StaffId,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<Begun, PasskeyError> {
        let known = of_staff(connection, staff).await?;
        let known = known.iter().map(|(_, passkey)| passkey.cred_id().clone()).collect();
        let (asked, state): (CreationChallengeResponse, PasskeyRegistration) =
            self.webauthn.start_passkey_registration(staff.0, name, name, Some(known))?;
        let mut options = serde_json::to_value(asked.public_key)?;
        // The device has to remember whose it is, so that nobody types a name to sign in.
        if let Some(wanted) = options.get_mut("authenticatorSelection").and_then(Value::as_object_mut) {
            wanted.insert("residentKey".to_owned(), json!("required"));
            wanted.insert("requireResidentKey".to_owned(), json!(true));
        }
        let token =
            ceremonies::begin(connection, Purpose::PasskeyEnrolment, Some(staff), &state, now).await?;
        Ok(Begun { ceremony: token.text(), options })
    }

    /// Enrols the passkey that the device made.
    ///
    /// # Errors
    /// When the answer proves nothing or comes too late, the passkey is known, or the database fails.
    pub async fn finish_enrolment(
        &self,
        connection: &mut PgConnection,
        staff: StaffId,
        answer: &Answer,
        label: &str,
        now: DateTime<Utc>,
    ) -> Result<PasskeyId, PasskeyError> {
        let credential: RegisterPublicKeyCredential = serde_json::from_str(&answer.credential)?;
        let state: PasskeyRegistration =
            ceremonies::take(connection, &answer.ceremony, Purpose::PasskeyEnrolment, Some(staff), now)
                .await?;
        let passkey = self.webauthn.finish_passkey_registration(&credential, &state)?;
        let id = PasskeyId::new();
        let inserted = sqlx::query!(
            "insert into passkeys (id, staff_id, credential_id, passkey, label, created_at)
             values ($1, $2, $3, $4, $5, $6) on conflict (credential_id) do nothing",
            id.0,
            staff.0,
            passkey.cred_id().as_slice(),
            serde_json::to_value(&passkey)?,
            label,
            now,
        )
        .execute(connection)
        .await?;
        if inserted.rows_affected() == 1 { Ok(id) } else { Err(PasskeyError::Known) }
    }

    /// Asks any device that has a passkey of ours.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_sign_in(
        &self,
        connection: &mut PgConnection,
        now: DateTime<Utc>,
    ) -> Result<Begun, PasskeyError> {
        let (asked, state): (RequestChallengeResponse, DiscoverableAuthentication) =
            self.webauthn.start_discoverable_authentication()?;
        let token = ceremonies::begin(connection, Purpose::PasskeySignIn, None, &state, now).await?;
        Ok(Begun { ceremony: token.text(), options: serde_json::to_value(asked.public_key)? })
    }

    /// Whose passkey answered.
    ///
    /// # Errors
    /// When the answer proves nothing or comes too late, the passkey is not known or its owner may not sign in, or the
    /// database fails.
    pub async fn finish_sign_in(
        &self,
        connection: &mut PgConnection,
        answer: &Answer,
        now: DateTime<Utc>,
    ) -> Result<StaffId, PasskeyError> {
        let credential: PublicKeyCredential = serde_json::from_str(&answer.credential)?;
        let state: DiscoverableAuthentication =
            ceremonies::take(connection, &answer.ceremony, Purpose::PasskeySignIn, None, now).await?;
        let (staff, credential_id) = self.webauthn.identify_discoverable_authentication(&credential)?;
        let row = sqlx::query!(
            r#"
            select p.id as "id: PasskeyId", p.passkey from passkeys p join staff on staff.id = p.staff_id
            where p.credential_id = $1 and p.staff_id = $2 and staff.disabled_at is null for update of p
            "#,
            credential_id,
            staff,
        )
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else {
            return Err(PasskeyError::Refused(
                "it is not known here, or its owner may not sign in".to_owned(),
            ));
        };
        let mut passkey: Passkey = serde_json::from_value(row.passkey)?;
        let result = self.webauthn.finish_discoverable_authentication_v2(&credential, state, &passkey)?;
        passkey.update_credential(&result);
        used(connection, row.id, &passkey, now).await?;
        Ok(StaffId(staff))
    }

    /// Asks the devices of a person who is signed in.
    ///
    /// # Errors
    /// When they have no passkey, or the database fails.
    pub async fn begin_step_up(
        &self,
        connection: &mut PgConnection,
        staff: StaffId,
        now: DateTime<Utc>,
    ) -> Result<Begun, PasskeyError> {
        let known: Vec<_> =
            of_staff(connection, staff).await?.into_iter().map(|(_, passkey)| passkey).collect();
        if known.is_empty() {
            return Err(PasskeyError::Refused("you have none".to_owned()));
        }
        let (asked, state): (RequestChallengeResponse, PasskeyAuthentication) =
            self.webauthn.start_passkey_authentication(&known)?;
        let token = ceremonies::begin(connection, Purpose::PasskeyStepUp, Some(staff), &state, now).await?;
        Ok(Begun { ceremony: token.text(), options: serde_json::to_value(asked.public_key)? })
    }

    /// Accepts the answer of one of the person's devices.
    ///
    /// # Errors
    /// When the answer proves nothing or comes too late, or the database fails.
    pub async fn finish_step_up(
        &self,
        connection: &mut PgConnection,
        staff: StaffId,
        answer: &Answer,
        now: DateTime<Utc>,
    ) -> Result<(), PasskeyError> {
        let credential: PublicKeyCredential = serde_json::from_str(&answer.credential)?;
        let state: PasskeyAuthentication =
            ceremonies::take(connection, &answer.ceremony, Purpose::PasskeyStepUp, Some(staff), now).await?;
        let result = self.webauthn.finish_passkey_authentication(&credential, &state)?;
        for (id, mut passkey) in of_staff(connection, staff).await? {
            if passkey.update_credential(&result).is_some() {
                return Ok(used(connection, id, &passkey, now).await?);
            }
        }
        Err(PasskeyError::Refused("it was removed meanwhile".to_owned()))
    }
}

async fn of_staff(
    connection: &mut PgConnection,
    staff: StaffId,
) -> Result<Vec<(PasskeyId, Passkey)>, PasskeyError> {
    let rows = sqlx::query!(
        r#"select id as "id: PasskeyId", passkey from passkeys where staff_id = $1 order by id for update"#,
        staff.0
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((row.id, serde_json::from_value(row.passkey)?))).collect()
}

async fn used(
    connection: &mut PgConnection,
    id: PasskeyId,
    passkey: &Passkey,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let passkey = serde_json::to_value(passkey).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query!("update passkeys set passkey = $2, last_used_at = $3 where id = $1", id.0, passkey, now)
        .execute(connection)
        .await
        .map(|_| ())
}
