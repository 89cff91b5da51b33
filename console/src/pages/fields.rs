//! The fields of a form that asks for no reason.

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use crate::{access::MAX_FORM_BYTES, pages::Problem};

/// What a form sends, as `T`.
#[derive(Debug)]
pub(super) struct Fields<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Fields<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes =
            axum::body::to_bytes(request.into_body(), MAX_FORM_BYTES).await.map_err(|_| Problem::TooLarge)?;
        serde_urlencoded::from_bytes(&bytes)
            .map(Self)
            .map_err(|_| Problem::Address("The form could not be read; load the page again.".to_owned()))
    }
}
