//! The style, the script and the icon, part of the binary: nothing is fetched from elsewhere.

use axum::{http::header, response::IntoResponse};

use crate::{access::Rule, routes::Routes};

const STYLE: &str = include_str!("console.css");
const SCRIPT: &str = include_str!("console.js");
const SIGN_IN_STYLE: &str = include_str!("sign_in.css");
const SIGN_IN_SCRIPT: &str = include_str!("sign_in.js");
const ICON: &str = include_str!("icon.svg");

/// Anybody may have these: the sign-in needs them.
pub(super) fn add(routes: Routes) -> Routes {
    routes
        .get("/console.css", Rule::Open, || file("text/css; charset=utf-8", STYLE))
        .get("/console.js", Rule::Open, || file("text/javascript; charset=utf-8", SCRIPT))
        .get("/sign_in.css", Rule::Open, || file("text/css; charset=utf-8", SIGN_IN_STYLE))
        .get("/sign_in.js", Rule::Open, || file("text/javascript; charset=utf-8", SIGN_IN_SCRIPT))
        .get("/icon.svg", Rule::Open, || file("image/svg+xml", ICON))
}

async fn file(media_type: &'static str, content: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, media_type)], content)
}
