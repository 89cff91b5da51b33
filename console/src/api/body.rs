//! Reads what a request sends: its JSON body within a size and a time, its query, its ids. Refuses with what would be right,
//! and never with what was sent.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, header, request::Parts},
};
use futures::StreamExt;
use runtime::ids::Uuid;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny},
};

use super::problem::{FieldError, Problem, Sort};

/// Longest body of most requests.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
/// Longest body of a request that carries many jobs.
pub(super) const MAX_BULK_BYTES: usize = 8 * 1024 * 1024;
/// A whole body comes within this time.
pub(super) const MOST_TIME: Duration = Duration::from_secs(10);
/// What is read of a body that is too large before the answer is sent: a client that still writes would not read it.
const MOST_DRAINED: usize = 32 * 1024 * 1024;

/// A JSON body of one thing.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub(super) T);
/// A JSON body of many things.
#[derive(Debug)]
pub(super) struct BulkBody<T>(pub(super) T);
/// The query of an address.
#[derive(Debug)]
pub(super) struct Parameters<T>(pub(super) T);
/// The id in a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdInPath(pub(super) Uuid);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        parse(&read(request, MAX_BYTES).await?).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for BulkBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        parse(&read(request, MAX_BULK_BYTES).await?).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(pairs).map(Self).map_err(|error| {
            let name = error.path().iter().last().map(ToString::to_string).filter(|name| like_ours(name));
            let wrong = describe(name.as_deref().unwrap_or_default(), &error.inner().to_string());
            let known = wrong.pointer.rsplit('/').next().unwrap_or_default();
            let name = if known.is_empty() { "the query" } else { known };
            Problem::parameter(name, &wrong.detail, &wrong.expected)
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdInPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let wrong =
            || Problem::parameter("id", "is not an id", "a UUID as 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10");
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| wrong())?;
        // Only the form that the answers have: others would be two names of one thing.
        Uuid::try_parse(&text).ok().filter(|_| text.len() == 36).map(Self).ok_or_else(wrong)
    }
}

async fn read(request: Request, most: usize) -> Result<Vec<u8>, Problem> {
    check_media_type(request.headers())?;
    let body = request.into_body();
    match tokio::time::timeout(MOST_TIME, gather(body, most)).await {
        Ok(gathered) => gathered,
        Err(_) => {
            let detail = format!("The whole body must come within {} seconds.", MOST_TIME.as_secs());
            Err(Problem::new(Sort::TooSlow, detail))
        }
    }
}

async fn gather(body: Body, most: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut seen = 0;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece
            .map_err(|_| Problem::new(Sort::NotJson, "The body ended before it was whole; send it again."))?;
        seen += piece.len();
        if seen > MOST_DRAINED {
            break;
        }
        if seen <= most {
            bytes.extend_from_slice(&piece);
        } else {
            bytes = Vec::new();
        }
    }
    if seen > most {
        let detail = format!("A body of this operation has at most {most} bytes. Nothing was done.");
        return Err(Problem::new(Sort::TooLarge, detail));
    }
    Ok(bytes)
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = given.split(';').map(str::trim);
    let json = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/json"));
    // JSON is UTF-8 whatever else is claimed.
    let utf8 = parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
        !name.eq_ignore_ascii_case("charset") || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    let plain = headers.get(header::CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
    if json && utf8 && plain {
        Ok(())
    } else {
        Err(Problem::new(
            Sort::NotTheMediaType,
            "Send the body as Content-Type: application/json, in UTF-8 and not compressed.",
        ))
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Problem::new(Sort::NotUtf8, format!("The byte at position {at} does not belong into UTF-8."))
    })?;
    // Serde would take a list too, field by field.
    if text.trim_start().starts_with('[') {
        serde_json::from_str::<IgnoredAny>(text).map_err(|error| refusal("", &error))?;
        return Err(no_object());
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| refusal(&pointer(error.path()), error.inner()))?;
    deserializer.end().map_err(|error| refusal("", &error))?;
    Ok(read)
}

/// Reads a piece of a body that was read before.
pub(super) fn from_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Problem> {
    if !value.is_object() {
        return Err(no_object());
    }
    serde_path_to_error::deserialize(value).map_err(|error| refusal(&pointer(error.path()), error.inner()))
}

/// Reads a field that may be missing, but not null.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    field: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

fn no_object() -> Problem {
    Problem::field("", "has the wrong type", "a JSON object")
}

fn refusal(pointer: &str, error: &serde_json::Error) -> Problem {
    if error.is_data() {
        return Problem::fields(vec![describe(pointer, &error.to_string())]);
    }
    let detail = format!("It stops being JSON at line {}, column {}.", error.line(), error.column());
    Problem::new(Sort::NotJson, detail)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("/{index}")),
            // A name that is none of ours is what was sent.
            Segment::Map { key } if like_ours(key) => text.push_str(&format!("/{key}")),
            Segment::Enum { variant } if like_ours(variant) => text.push_str(&format!("/{variant}")),
            Segment::Map { .. } | Segment::Enum { .. } | Segment::Unknown => break,
        }
    }
    text
}

/// Whether a name could be one of our fields, perhaps misspelt.
fn like_ours(name: &str) -> bool {
    (1..=30).contains(&name.len()) && name.bytes().all(|letter| letter.is_ascii_lowercase() || letter == b'_')
}

/// Serde's message, which quotes what it found, in words that do not.
pub(super) fn describe(pointer: &str, message: &str) -> FieldError {
    let quoted = || message.split('`').nth(1).filter(|name| like_ours(name));
    if message.starts_with("missing field") {
        let name = quoted().unwrap_or_default();
        return FieldError::new(format!("{pointer}/{name}"), "is missing", "a value");
    }
    if message.starts_with("duplicate field") {
        let name = quoted().unwrap_or_default();
        return FieldError::new(format!("{pointer}/{name}"), "is there twice", "one value");
    }
    if message.starts_with("unknown field") {
        let detail = match quoted() {
            Some(name) => format!("has a field that is none of its own, `{name}`"),
            None => "has a field that is none of its own".to_owned(),
        };
        // The path leads to the field; what is wrong is the object around it.
        let around = match quoted() {
            Some(name) => pointer.strip_suffix(name).map_or(pointer, |rest| rest.trim_end_matches('/')),
            None => pointer,
        };
        return FieldError::new(around, detail, expected(message).unwrap_or_else(|| "no field".to_owned()));
    }
    let detail = if message.starts_with("invalid type") {
        "has the wrong type"
    } else if message.starts_with("unknown variant") {
        "is none of its values"
    } else {
        "is not right"
    };
    let name = pointer.rsplit('/').next().unwrap_or_default();
    FieldError::new(pointer, detail, expected(message).unwrap_or_else(|| usual(name).to_owned()))
}

/// What serde expected: our own words, at the end of its message.
fn expected(message: &str) -> Option<String> {
    if message.contains("there are no ") {
        return None;
    }
    let (_, words) = message.rsplit_once("expected ")?;
    let words = words.split(" at line ").next().unwrap_or_default();
    Some(words.replace('`', "")).filter(|words| !words.is_empty())
}

/// What a field holds whose reader does not say.
fn usual(name: &str) -> &'static str {
    match name {
        "due_at" | "deadline_at" | "expires_at" => "a moment as 2026-11-24T09:00:00Z",
        "batch" | "cursor" | "id" => "a UUID as 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10",
        "limit" | "timeout" | "delay_seconds" | "unique_for_seconds" => "a whole number within its limits",
        "state" => "one of ready, delayed, running, done, dead, cancelled",
        "queue" => "one of urgent, sync, mail, heavy, upkeep",
        _ => "a value as /v1/openapi.json describes it",
    }
}
