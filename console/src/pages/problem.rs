//! Pages about what did not work: what happened, and what to do.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::html;

use crate::pages::layout::{self, Place};

/// Why a page could not be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// The database failed.
    #[error("the page could not be read from Postgres")]
    Database(#[from] sqlx::Error),
    /// What the address names does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The address cannot be understood.
    #[error("{0}")]
    Address(String),
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, title, what) = match &self {
            Self::Database(error) => {
                tracing::error!(%error, "a page could not be read");
                let what = "Postgres did not answer. The queues may still be moving; this page comes back by itself. \
                            /readyz says what is wrong.";
                (StatusCode::SERVICE_UNAVAILABLE, "Not now", what.to_owned())
            }
            Self::NotFound(what) => (StatusCode::NOT_FOUND, "Not found", what.clone()),
            Self::Address(what) => (StatusCode::BAD_REQUEST, "Not understood", what.clone()),
        };
        let content = html! {
            h1 { (title) }
            p { (what) }
            p { a href="/" { "Back to the overview" } }
        };
        (status, layout::page(title, Place::Nowhere, None, &content)).into_response()
    }
}

/// For addresses that lead nowhere.
pub(super) async fn no_such_page() -> Problem {
    Problem::NotFound("There is no such page.".to_owned())
}
