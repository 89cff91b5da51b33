//! The cookie that a sign-in sets, and where it leads.

use axum::{
    http::{HeaderName, header},
    response::{IntoResponse, Redirect, Response},
};

use crate::{
    auth::{
        Token,
        session::{COOKIE, MOST_AGE},
    },
    origin::Origin,
};

/// Browsers keep it from scripts, from other sites and from unencrypted connections.
const HOW: &str = "Path=/; HttpOnly; Secure; SameSite=Strict";

/// The header that gives a browser its session.
pub(super) fn cookie(session: &Token) -> [(HeaderName, String); 1] {
    [(header::SET_COOKIE, format!("{COOKIE}={}; Max-Age={}; {HOW}", session.text(), MOST_AGE.num_seconds()))]
}

/// The header that takes it away.
pub(super) fn no_cookie() -> [(HeaderName, String); 1] {
    [(header::SET_COOKIE, format!("{COOKIE}=; Max-Age=0; {HOW}"))]
}

/// Leads on with a session.
pub(super) fn lead(session: &Token, to: &str) -> Response {
    (cookie(session), Redirect::to(to)).into_response()
}

/// The page of ours that an address names; the overview for whatever is none.
pub(super) fn ours(origin: &Origin, to: Option<&str>) -> String {
    let page = to.filter(|to| to.starts_with('/')).and_then(|to| origin.url().join(to).ok());
    match page {
        Some(page) if page.origin() == origin.url().origin() => {
            let query = page.query().map(|query| format!("?{query}")).unwrap_or_default();
            format!("{}{query}", page.path())
        }
        _ => "/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_leads_to_pages_of_ours_only() {
        let origin: Origin = "https://console.example".parse().expect("an origin");
        let leads = |to| ours(&origin, Some(to));
        assert_eq!(leads("/jobs?state=dead&kind=a"), "/jobs?state=dead&kind=a");
        assert_eq!(ours(&origin, None), "/");
        for other in [
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "jobs",
            "",
            "https://console.example/jobs",
        ] {
            assert_eq!(leads(other), "/", "{other:?}");
        }
        assert_eq!(leads("/jobs\r\nSet-Cookie: a=b"), "/jobsSet-Cookie:%20a=b");
    }
}
