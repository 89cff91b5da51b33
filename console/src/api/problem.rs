//! Answers about what did not work: problem+json (RFC 9457) that names the field and what would be right.
//!
//! Nothing that was sent is repeated in one, and none is logged but a database that is away: what was sent may be anything.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Problem)]
pub(super) struct ProblemBody {
    /// Which sort, always the same text for the same sort.
    #[serde(rename = "type")]
    #[schema(pattern = "^urn:amzigo:problem:[a-z0-9-]+$", example = "urn:amzigo:problem:invalid")]
    pub sort: String,
    /// The sort, in words.
    pub title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What was wrong this time, and what to do.
    pub detail: String,
    /// What is wrong with which field; empty where it is not about one.
    pub errors: Vec<FieldError>,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldError {
    /// The field: a JSON pointer into the body; the name of a parameter or header where it is one.
    #[schema(example = "/payload/seller")]
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
    /// What would be right.
    pub expected: String,
}

impl FieldError {
    pub(super) fn new(
        pointer: impl Into<String>,
        detail: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self { pointer: pointer.into(), detail: detail.into(), expected: expected.into() }
    }
}

/// The sorts of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    NotJson,
    NotUtf8,
    Parameter,
    NoKey,
    UnknownKey,
    EndedKey,
    NotInScope,
    NotThisKind,
    NotFound,
    NoOperation,
    NotAllowed,
    NotAcceptable,
    TooSlow,
    Conflict,
    TooLarge,
    AddressTooLong,
    NotTheMediaType,
    Invalid,
    KeyReused,
    TooMany,
    HeadersTooLarge,
    Busy,
    Unavailable,
}

impl Sort {
    const fn describe(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotJson => (StatusCode::BAD_REQUEST, "not-json", "The body is not JSON"),
            Self::NotUtf8 => (StatusCode::BAD_REQUEST, "not-utf8", "The body is not UTF-8"),
            Self::Parameter => (StatusCode::BAD_REQUEST, "parameter", "A parameter cannot be understood"),
            Self::NoKey => (StatusCode::UNAUTHORIZED, "no-key", "There is no key"),
            Self::UnknownKey => (StatusCode::UNAUTHORIZED, "unknown-key", "The key opens nothing"),
            Self::EndedKey => (StatusCode::UNAUTHORIZED, "ended-key", "The key has ended"),
            Self::NotInScope => (StatusCode::FORBIDDEN, "not-in-scope", "The key may not do this"),
            Self::NotThisKind => (StatusCode::FORBIDDEN, "not-this-kind", "The key is not for this kind"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Self::NoOperation => (StatusCode::NOT_FOUND, "no-operation", "There is no such operation"),
            Self::NotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method", "Not with this method"),
            Self::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "not-acceptable", "No such media type"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too-slow", "The body came too slowly"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "Things are not so any more"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::AddressTooLong => (StatusCode::URI_TOO_LONG, "address-too-long", "The address is too long"),
            Self::NotTheMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "The body is of another media type")
            }
            Self::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "A field is not right"),
            Self::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The idempotency key is another job's",
            ),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests"),
            Self::HeadersTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", "Too many headers")
            }
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Too much at once"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not now"),
        }
    }
}

/// Why a request was refused.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    sort: Sort,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
}

impl Problem {
    pub(super) fn new(sort: Sort, detail: impl Into<String>) -> Self {
        Self { sort, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    /// A field of the body is not right.
    pub(super) fn field(
        pointer: impl Into<String>,
        detail: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::fields(vec![FieldError::new(pointer, detail, expected)])
    }

    /// Fields of the body are not right.
    pub(super) fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{} {}; expected: {}.", one.pointer, one.detail, one.expected),
            _ => "Several fields are not right; nothing was done.".to_owned(),
        };
        Self { errors, ..Self::new(Sort::Invalid, detail) }
    }

    /// A parameter of the address, or a header, is not right.
    pub(super) fn parameter(name: &str, detail: &str, expected: &str) -> Self {
        Self {
            errors: vec![FieldError::new(name, detail, expected)],
            ..Self::new(Sort::Parameter, format!("{name} {detail}; expected: {expected}."))
        }
    }

    pub(super) fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// The database did not answer. Logged here, because who asked cannot do anything about it.
    pub(super) fn database(error: &sqlx::Error) -> Self {
        tracing::warn!(error = told(error), "the API could not ask the database");
        Self::unavailable()
    }

    pub(super) fn unavailable() -> Self {
        Self::new(
            Sort::Unavailable,
            "The database did not answer. Repeat the request; nothing is known to be done.",
        )
        .retry_after(Duration::from_secs(1))
    }

    pub(super) fn with_pointers_below(mut self, prefix: &str) -> Self {
        for error in &mut self.errors {
            error.pointer.insert_str(0, prefix);
        }
        self
    }

    pub(super) fn body(&self) -> ProblemBody {
        let (status, name, title) = self.sort.describe();
        ProblemBody {
            sort: format!("urn:amzigo:problem:{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            errors: self.errors.clone(),
        }
    }
}

/// What a database's error says without the values that it may quote: its class and where it came from.
fn told(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(refused) => {
            format!("the database refused with {}", refused.code().unwrap_or_else(|| "no code".into()))
        }
        other => other.to_string(),
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Self::database(&error)
    }
}

/// The media type of all problems.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = self.body();
        let status = self.sort.describe().0;
        let text = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], text).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"amzigo\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(pause) = self.retry_after {
            // Whole seconds, rounded up: who comes earlier would be refused again.
            let seconds = pause.as_millis().div_ceil(1_000).max(1).to_string();
            if let Ok(value) = HeaderValue::from_str(&seconds) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        response
    }
}
