//! Pages about what did not work: what happened, and what to do.

use std::time::Duration;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::html;

use crate::pages::layout::{self, Frame, Place};

/// Why a page could not be shown, or something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The database failed.
    #[error("the page could not be read from Postgres")]
    Database(#[from] sqlx::Error),
    /// What the address names does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The address or the form cannot be understood.
    #[error("{0}")]
    Address(String),
    /// It is not for this person.
    #[error("{0}")]
    Forbidden(String),
    /// Things have changed meanwhile, so it was not done.
    #[error("{0}")]
    Conflict(String),
    /// Nobody is signed in.
    #[error("nobody is signed in")]
    SignedOut,
    /// A factor has to be given again.
    #[error("a factor has to be given again")]
    StepUp,
    /// It was good once.
    #[error("{0}")]
    Gone(String),
    /// Too much was asked at once.
    #[error("too many tries; wait {} seconds", .0.as_secs() + 1)]
    TooMany(Duration),
    /// Something of ours is broken.
    #[error("something of ours is broken")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Too many ask for something that lasts.
    #[error("too many pages are open")]
    Busy,
    /// More than a form may have.
    #[error("the form is too large")]
    TooLarge,
}

impl Problem {
    /// An address that leads nowhere.
    pub(crate) fn no_page() -> Self {
        Self::NotFound("There is no such page.".to_owned())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let retry_after = match &self {
            Self::TooMany(wait) => Some([(header::RETRY_AFTER, (wait.as_secs() + 1).to_string())]),
            _ => None,
        };
        let (status, title, what) = match &self {
            Self::Database(error) => {
                tracing::error!(%error, "a page could not be read");
                let what = "Postgres did not answer. The queues may still be moving; this page comes back by itself. \
                            /readyz says what is wrong.";
                (StatusCode::SERVICE_UNAVAILABLE, "Not now", what.to_owned())
            }
            Self::NotFound(what) => (StatusCode::NOT_FOUND, "Not found", what.clone()),
            Self::Address(what) => (StatusCode::BAD_REQUEST, "Not understood", what.clone()),
            Self::Forbidden(what) => (StatusCode::FORBIDDEN, "Not allowed", what.clone()),
            Self::Conflict(what) => (StatusCode::CONFLICT, "Not done", what.clone()),
            Self::SignedOut => {
                let what = "You are not signed in, or your session has ended. Sign in and repeat it.";
                (StatusCode::UNAUTHORIZED, "Signed out", what.to_owned())
            }
            Self::StepUp => {
                let what = "This needs a factor that was given within the last ten minutes.";
                (StatusCode::FORBIDDEN, "Confirm that it is you", what.to_owned())
            }
            Self::Gone(what) => (StatusCode::GONE, "No longer there", what.clone()),
            Self::TooMany(wait) => {
                let what = format!(
                    "Too many tries came from your address, or too many people sign in at once. Wait {} seconds and \
                     repeat it.",
                    wait.as_secs() + 1
                );
                (StatusCode::TOO_MANY_REQUESTS, "One moment", what)
            }
            Self::Broken(error) => {
                tracing::error!(
                    error = queue::failure::chain(error.as_ref()),
                    "a sign-in could not be judged"
                );
                let what = "Something of ours is broken, and its log says what. A passkey may work where a password \
                            does not.";
                (StatusCode::INTERNAL_SERVER_ERROR, "Not now", what.to_owned())
            }
            Self::Busy => {
                let what = "Too many pages look at the console at once. This one works when it is loaded again, and does \
                            not keep itself fresh.";
                (StatusCode::SERVICE_UNAVAILABLE, "Too many pages", what.to_owned())
            }
            Self::TooLarge => {
                let what = "The form is larger than any of ours; nothing was done.";
                (StatusCode::PAYLOAD_TOO_LARGE, "Too large", what.to_owned())
            }
        };
        let content = html! {
            h1 { (title) }
            p { (what) }
            p { a href="/" { "Back to the overview" } }
        };
        let frame = Frame { title, place: Place::Nowhere, now: None, person: None };
        (status, retry_after, layout::page(&frame, &content)).into_response()
    }
}

/// For addresses that lead nowhere.
pub(super) async fn no_such_page() -> Problem {
    Problem::no_page()
}
