//! Who may ask which operation of the API: every one declares a [`Rule`], and this is the one place that holds requests to it.
//!
//! Order of the questions: is it too much to read; is there a key; does it open; is it within its limit; may it do this.
//! Cookies are never looked at: no browser can be made to use somebody's key.

use axum::{
    body::HttpBody,
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    Api,
    holders::{Allowance, Holder},
    problem::{Problem, Sort},
};
use crate::auth::api_key::{KeyText, Scope};

/// Who may ask an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Anybody: what the documentation page needs.
    Open,
    /// A program whose key has this scope.
    Key(Scope),
}

/// What an operation is held to.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) api: Api,
    pub(super) rule: Rule,
}

pub(super) async fn hold(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let Rule::Key(scope) = gate.rule else { return next.run(request).await };
    let (holder, allowance) = match admit(&gate.api, scope, request.headers()).await {
        Ok(admitted) => admitted,
        Err((problem, allowance)) => return with_allowance(problem.into_response(), allowance),
    };
    if !accepts(request.headers()) {
        let what =
            "Answers are application/json, problems application/problem+json; ask for them, or for */*.";
        return with_allowance(Problem::new(Sort::NotAcceptable, what).into_response(), Some(allowance));
    }
    request.extensions_mut().insert(holder);
    with_allowance(next.run(request).await, Some(allowance))
}

type Refusal = (Problem, Option<Allowance>);

async fn admit(api: &Api, scope: Scope, headers: &HeaderMap) -> Result<(Holder, Allowance), Refusal> {
    let key = key(headers).map_err(|problem| (problem, None))?;
    let found = api.holders.find(&key).await.map_err(|error| (Problem::database(&error), None))?;
    let found = found.ok_or_else(|| (unknown(), None))?;
    let now = api.now();
    if found.revoked_at.is_some() {
        return Err((
            Problem::new(Sort::EndedKey, "This key was revoked. Ask an admin for another one."),
            None,
        ));
    }
    if found.ends_at <= now {
        let what = "This key has expired, or was rotated and its overlap is over. Use the newer one.";
        return Err((Problem::new(Sort::EndedKey, what), None));
    }
    let allowance = api.holders.allow(&found);
    if let Some(wait) = allowance.wait {
        let what = format!(
            "This key may make {} requests at once and {} a second. Wait as Retry-After says.",
            found.burst, found.rate_per_second
        );
        return Err((Problem::new(Sort::TooMany, what).retry_after(wait), Some(allowance)));
    }
    api.holders.note(found.id, now);
    let holder = Holder { key: found };
    if !holder.may(scope) {
        let what = format!("This operation needs the scope `{scope}`, which this key does not have.");
        return Err((Problem::new(Sort::NotInScope, what), Some(allowance)));
    }
    Ok((holder, allowance))
}

fn key(headers: &HeaderMap) -> Result<KeyText, Problem> {
    let Some(given) = headers.get(header::AUTHORIZATION) else {
        let what = "Send the key as `Authorization: Bearer amzigo_live_…`.";
        return Err(Problem::new(Sort::NoKey, what));
    };
    let (scheme, text) = given.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("bearer") {
        let what = "Send the key as `Authorization: Bearer amzigo_live_…`; other schemes open nothing.";
        return Err(Problem::new(Sort::NoKey, what));
    }
    KeyText::read(text.trim()).ok_or_else(unknown)
}

fn unknown() -> Problem {
    Problem::new(Sort::UnknownKey, "This is no key of ours; check that it is whole.")
}

/// Whether the answer's media types are among those that are asked for.
fn accepts(headers: &HeaderMap) -> bool {
    let mut asked = headers.get_all(header::ACCEPT).iter().peekable();
    if asked.peek().is_none() {
        return true;
    }
    asked.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).any(|part| {
        let mut pieces = part.split(';').map(str::trim);
        let name = pieces.next().unwrap_or_default().to_ascii_lowercase();
        let refused = pieces
            .any(|piece| matches!(piece.replace(' ', "").as_str(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        let ours =
            ["*/*", "application/*", "application/json", "application/problem+json", "text/event-stream"];
        !refused && ours.contains(&name.as_str())
    })
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What is left of the key's limit, as draft-ietf-httpapi-ratelimit-headers has it.
fn with_allowance(mut response: Response, allowance: Option<Allowance>) -> Response {
    let Some(allowance) = allowance else { return response };
    let window = whole_seconds(allowance.window.as_millis());
    let used = u128::from(allowance.burst.saturating_sub(allowance.left));
    let reset = match allowance.wait {
        Some(wait) => whole_seconds(wait.as_millis()),
        None => whole_seconds(allowance.window.as_millis() * used / u128::from(allowance.burst.max(1))),
    };
    let lines = [
        (POLICY, format!("\"key\";q={};w={window}", allowance.burst)),
        (LIMIT, format!("\"key\";r={};t={reset}", allowance.left)),
    ];
    for (name, text) in lines {
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn whole_seconds(milliseconds: u128) -> u128 {
    milliseconds.div_ceil(1_000).max(1)
}

/// Most headers of a request, and most bytes of them.
const MOST_HEADERS: usize = 64;
const MOST_HEADER_BYTES: usize = 16 * 1024;
const MOST_ADDRESS_BYTES: usize = 4 * 1024;

/// Refuses what is too much to look at, and says on every answer what holds for all.
pub(super) async fn bounds(request: Request, next: Next) -> Response {
    let bytes: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let mut response = if request.headers().len() > MOST_HEADERS || bytes > MOST_HEADER_BYTES {
        let what =
            format!("A request has at most {MOST_HEADERS} headers of {MOST_HEADER_BYTES} bytes together.");
        refuse_unread(&request, Problem::new(Sort::HeadersTooLarge, what))
    } else if request.uri().to_string().len() > MOST_ADDRESS_BYTES {
        let what = format!("An address has at most {MOST_ADDRESS_BYTES} bytes.");
        refuse_unread(&request, Problem::new(Sort::AddressTooLong, what))
    } else {
        next.run(request).await
    };
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// The connection of a request whose body nobody reads cannot be used again.
fn refuse_unread(request: &Request, problem: Problem) -> Response {
    let mut response = problem.into_response();
    if !request.body().is_end_stream() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains"),
];

impl<S: Send + Sync> FromRequestParts<S> for Holder {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let what = "Send the key as `Authorization: Bearer amzigo_live_…`.";
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::new(Sort::NoKey, what))
    }
}
