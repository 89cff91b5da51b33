//! The style, the script and the icon, part of the binary: nothing is fetched from elsewhere.

use axum::{Router, http::header, response::IntoResponse, routing::get};

const STYLE: &str = include_str!("console.css");
const SCRIPT: &str = include_str!("console.js");
const ICON: &str = include_str!("icon.svg");

pub(super) fn router() -> Router {
    Router::new()
        .route("/console.css", get(|| file("text/css; charset=utf-8", STYLE)))
        .route("/console.js", get(|| file("text/javascript; charset=utf-8", SCRIPT)))
        .route("/icon.svg", get(|| file("image/svg+xml", ICON)))
}

async fn file(media_type: &'static str, content: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, media_type)], content)
}
