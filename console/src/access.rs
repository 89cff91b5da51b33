//! Who may ask what: every route declares a [`Rule`], and this is the one place that holds requests to it.
//!
//! Order of the questions: does a page of ours ask (no other site can make a browser change anything); is somebody signed
//! in; with both factors; does the form carry the session's token; may the person do this; was a factor given lately.

use std::net::SocketAddr;

use axum::{
    body::{Body, to_bytes},
    extract::{ConnectInfo, FromRequestParts, Request, State},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use axum_extra::extract::CookieJar;
use serde::Deserialize;

use crate::{
    auth::{Permission, Person, Token, session},
    console::Console,
    pages::{Problem, sign_in, step_up},
};

/// Who may ask a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Anybody. For what is needed before anybody is signed in.
    Open,
    /// A program on this host.
    ThisHost,
    /// Somebody who has given a first factor. For what asks for the second, and for leaving.
    HalfSignedIn,
    /// Somebody signed in with both factors, who may do this.
    Staff(Permission),
    /// The same, with a factor given within the last ten minutes: what it does is dangerous.
    SteppedUp(Permission),
}

/// What a route is held to.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) console: Console,
    pub(crate) rule: Rule,
}

/// Longest form that is read: a reason, some ids, some filters.
pub const MAX_FORM_BYTES: usize = 64 * 1024;
/// The header that carries the session's token where a script asks.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// Holds a request to its route's rule; whoever is signed in is handed on as [`Person`].
pub(crate) async fn hold(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    match admit(&gate, request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => refusal,
    }
}

async fn admit(gate: &Gate, mut request: Request) -> Result<Request, Response> {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if changes && !comes_from_us(request.headers(), &gate.console) {
        return Err(Problem::Forbidden(
            "Another site sent this. Open the console itself and do it there.".to_owned(),
        )
        .into_response());
    }
    let permission = match gate.rule {
        Rule::Open => {
            if let Some(person) = person(gate, request.headers()).await? {
                request.extensions_mut().insert(person);
            }
            return Ok(request);
        }
        Rule::ThisHost => {
            return if is_this_host(&request) {
                Ok(request)
            } else {
                Err(Problem::no_page().into_response())
            };
        }
        Rule::HalfSignedIn => None,
        Rule::Staff(permission) | Rule::SteppedUp(permission) => Some(permission),
    };
    let Some(person) = person(gate, request.headers()).await? else { return Err(ask_to_sign_in(&request)) };
    if permission.is_some() && !person.complete {
        return Err(ask_to_sign_in(&request));
    }
    if changes {
        let (back, token) = with_token(request).await?;
        request = back;
        if !token.is_some_and(|token| person.csrf.is(&token)) {
            return Err(Problem::Forbidden(
                "This form belongs to a session that has ended. Load the page again and repeat it."
                    .to_owned(),
            )
            .into_response());
        }
    }
    if let Some(permission) = permission
        && !person.may(permission)
    {
        return Err(Problem::Forbidden(format!(
            "Your roles ({}) do not include this. An admin can change them: `amzigo staff roles {} …`.",
            person.roles, person.name
        ))
        .into_response());
    }
    if matches!(gate.rule, Rule::SteppedUp(_)) && !person.stepped_up(gate.console.now()) {
        request = step_up::ask(&gate.console, &person, request).await?;
    }
    request.extensions_mut().insert(person);
    Ok(request)
}

/// Whoever has the cookie.
async fn person(gate: &Gate, headers: &HeaderMap) -> Result<Option<Person>, Response> {
    let jar = CookieJar::from_headers(headers);
    let Some(token) = jar.get(session::COOKIE).and_then(|cookie| Token::read(cookie.value())) else {
        return Ok(None);
    };
    let find = async {
        let mut connection = gate.console.pool.acquire().await?;
        session::find(&mut connection, &token, gate.console.now()).await
    };
    find.await.map_err(|error| Problem::Database(error).into_response())
}

/// Whether a page of ours sent this: browsers say so in headers that no script can forge, and what is no browser sends
/// neither of them and has no cookie that another site could use.
fn comes_from_us(headers: &HeaderMap, console: &Console) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => origin == console.origin.ascii(),
        (None, None) => false,
    }
}

/// Whether the request came over loopback and names this host: another site may make its own name point here.
fn is_this_host(request: &Request) -> bool {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.is_some_and(|ConnectInfo(peer)| peer.ip().is_loopback()) && names_this_host(request.headers())
}

fn names_this_host(headers: &HeaderMap) -> bool {
    host(headers).is_some_and(|name| {
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

/// The name that a request asks for, without the port.
fn host(headers: &HeaderMap) -> Option<String> {
    let authority = headers.get(header::HOST)?.to_str().ok()?.parse::<axum::http::uri::Authority>().ok()?;
    Some(authority.host().trim_start_matches('[').trim_end_matches(']').to_owned())
}

/// Answers only to the console's own name and to names of this host: a web page in a browser could otherwise reach it by a
/// name that it makes point here.
pub(crate) async fn only_our_names(State(console): State<Console>, request: Request, next: Next) -> Response {
    let ours = host(request.headers()).is_some_and(|name| name == console.origin.host());
    if ours || names_this_host(request.headers()) {
        next.run(request).await
    } else {
        let why = format!("The console answers only to its own name: open {}\n", console.origin);
        (StatusCode::MISDIRECTED_REQUEST, why).into_response()
    }
}

/// Sends a person to the sign-in and back, and tells a script that nobody is signed in.
fn ask_to_sign_in(request: &Request) -> Response {
    let navigates = request.method() == Method::GET
        && request.headers().get("sec-fetch-mode").is_none_or(|mode| mode == "navigate");
    if navigates {
        let to = request.uri().path_and_query().map_or("/", |path| path.as_str());
        // A browser that comes from another site, or from a mail, keeps the cookie back for once.
        if request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
            return sign_in::again_from_here(to);
        }
        Redirect::to(&sign_in::address(to)).into_response()
    } else {
        Problem::SignedOut.into_response()
    }
}

/// The token that a form carries in its field `csrf`, or a script in a header; the request is handed back whole.
async fn with_token(request: Request) -> Result<(Request, Option<String>), Response> {
    #[derive(Deserialize)]
    struct Field {
        csrf: Option<String>,
    }
    if let Some(token) = request.headers().get(CSRF_HEADER).and_then(|value| value.to_str().ok()) {
        let token = token.to_owned();
        return Ok((request, Some(token)));
    }
    let (parts, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, MAX_FORM_BYTES).await else {
        return Err(Problem::TooLarge.into_response());
    };
    let token = serde_urlencoded::from_bytes::<Field>(&bytes).ok().and_then(|field| field.csrf);
    Ok((Request::from_parts(parts, Body::from(bytes)), token))
}

impl<S: Send + Sync> FromRequestParts<S> for Person {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or(Problem::SignedOut)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_names_of_this_host_are_this_host() {
        let asks = |host: &'static str| {
            names_this_host(&HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]))
        };
        for own in ["127.0.0.1:8480", "localhost", "localhost:8480", "[::1]:8480", "127.0.0.1"] {
            assert!(asks(own), "{own}");
        }
        for other in ["evil.example:8480", "localhost.evil.example", "10.0.0.1", "", "@127.0.0.1@evil"] {
            assert!(!asks(other), "{other}");
        }
        assert!(!names_this_host(&HeaderMap::new()));
    }
}
