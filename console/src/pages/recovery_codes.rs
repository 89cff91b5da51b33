//! The recovery codes, shown once.

use axum::{
    http::{HeaderName, StatusCode},
    response::{IntoResponse, Response},
};
use maud::html;

use crate::pages::layout;

/// A page with codes that nobody can look up again. `headers` set the session where one was opened.
pub(super) fn page(codes: &[String], headers: [(HeaderName, String); 1], on: &str) -> Response {
    let content = html! {
        p { "Keep these ten codes where you keep what must not be lost: in a password manager, or on paper. "
            strong { "They are shown this once." } }
        ol.codes { @for code in codes { li { code { (code) } } } }
        p { "Each is good once. With your password it stands in for your authenticator app, and it opens a password that \
             guesses have locked. Each use is written to the audit log." }
        p { "A passkey has no code that stands in for it: enrol a second one, on another device, on your account page." }
        p { a.button href=(on) { "I have kept them" } }
    };
    (StatusCode::OK, headers, layout::alone("Your recovery codes", None, &content)).into_response()
}
