//! Forms that change something: a button, the reason, and what comes of it.

use axum::{
    extract::{FromRequest, Request},
    response::{IntoResponse, Redirect, Response},
};
use axum_extra::extract::cookie::{Cookie, SameSite};
use maud::{Markup, html};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    access::MAX_FORM_BYTES,
    auth::Person,
    ops::{Act, Via},
    pages::Problem,
};

/// What a form sends: the act, in the name of whoever is signed in, and its other fields as `T`.
#[derive(Debug)]
pub(super) struct Acting<T> {
    pub(super) act: Act,
    pub(super) form: T,
}

/// A form of nothing but its reason.
#[derive(Debug, Deserialize)]
pub(super) struct Nothing {}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    reason: String,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Acting<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let person = request.extensions().get::<Person>().cloned().ok_or(Problem::SignedOut)?;
        let bytes =
            axum::body::to_bytes(request.into_body(), MAX_FORM_BYTES).await.map_err(|_| Problem::TooLarge)?;
        let unreadable = |_| Problem::Address("The form could not be read; load the page again.".to_owned());
        let Reason { reason } = serde_urlencoded::from_bytes(&bytes).map_err(unreadable)?;
        let form = serde_urlencoded::from_bytes(&bytes).map_err(unreadable)?;
        let act = Act::new(&person.name, &reason)
            .map_err(|error| Problem::Address(error.to_string()))?
            .via(Via::Console);
        Ok(Self { act, form })
    }
}

/// A button that asks for a reason before it does something. `fields` are hidden ones and further inputs of the form.
/// Without scripts it opens in place; nothing happens before the reason is given.
pub(super) fn act(person: &Person, action: &str, label: &str, danger: bool, fields: &Markup) -> Markup {
    html! {
        details.act {
            summary.button.danger[danger] { (label) }
            form method="post" action=(action) {
                input type="hidden" name="csrf" value=(person.csrf.text());
                (fields)
                label { "Reason, for the audit log"
                    input name="reason" required maxlength="1000" autocomplete="off" placeholder="why you do this";
                }
                button.danger[danger] { (label) }
            }
        }
    }
}

/// The cookie that carries what was done to the next page.
const NOTICE: &str = "__Host-notice";

/// Leads to a page that says once what was done.
pub(super) fn done(page: &str, notice: &str) -> Response {
    let text: String = url::form_urlencoded::byte_serialize(notice.as_bytes()).collect();
    let cookie =
        Cookie::build((NOTICE, text)).path("/").secure(true).http_only(false).same_site(SameSite::Strict);
    let header = [(axum::http::header::SET_COOKIE, cookie.build().to_string())];
    (header, Redirect::to(page)).into_response()
}
