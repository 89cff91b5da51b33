//! A build without passkeys: there is never a [`Passkeys`], so none of this is called.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    auth::{
        factors::PasskeyId,
        passkeys::{Answer, Begun, PasskeyError},
        staff::StaffId,
    },
    origin::Origin,
};

/// There is none.
#[derive(Debug)]
pub enum Passkeys {}

#[expect(clippy::missing_errors_doc, reason = "nothing of it is ever called")]
impl Passkeys {
    /// None.
    #[must_use]
    pub const fn of(_: &Origin) -> Option<Self> {
        None
    }

    /// Never called.
    pub async fn begin_enrolment(
        &self,
        _: &mut PgConnection,
        _: StaffId,
        _: &str,
        _: DateTime<Utc>,
    ) -> Result<Begun, PasskeyError> {
        match *self {}
    }

    /// Never called.
    pub async fn finish_enrolment(
        &self,
        _: &mut PgConnection,
        _: StaffId,
        _: &Answer,
        _: &str,
        _: DateTime<Utc>,
    ) -> Result<PasskeyId, PasskeyError> {
        match *self {}
    }

    /// Never called.
    pub async fn begin_sign_in(&self, _: &mut PgConnection, _: DateTime<Utc>) -> Result<Begun, PasskeyError> {
        match *self {}
    }

    /// Never called.
    pub async fn finish_sign_in(
        &self,
        _: &mut PgConnection,
        _: &Answer,
        _: DateTime<Utc>,
    ) -> Result<StaffId, PasskeyError> {
        match *self {}
    }

    /// Never called.
    pub async fn begin_step_up(
        &self,
        _: &mut PgConnection,
        _: StaffId,
        _: DateTime<Utc>,
    ) -> Result<Begun, PasskeyError> {
        match *self {}
    }

    /// Never called.
    pub async fn finish_step_up(
        &self,
        _: &mut PgConnection,
        _: StaffId,
        _: &Answer,
        _: DateTime<Utc>,
    ) -> Result<(), PasskeyError> {
        match *self {}
    }
}
