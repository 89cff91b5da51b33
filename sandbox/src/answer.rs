//! What the sandbox answers in Amazon's place, before it becomes an HTTP response.
//!
//! The wordings are Amazon's. A client has to tell several 403s apart by them, so they are spelled once, here and in
//! [`crate::solicitations`].

use crate::planted::leak_into;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

const HAL: &str = "application/hal+json";
const JSON: &str = "application/json";

/// An answer: status, body, and what decides about the headers.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// The body as it goes over the wire. Not always JSON: a scripted fault sends garbage.
    pub(crate) body: Bytes,
    content_type: &'static str,
    content_encoding: Option<&'static str>,
    error_type: Option<&'static str>,
    rate: Option<String>,
    cacheable: bool,
}

impl Answer {
    /// A JSON answer of the Selling Partner API or of the sign-in.
    pub(crate) fn json(status: StatusCode, body: &Value) -> Answer {
        Answer::bytes(status, body.to_string().into_bytes(), JSON)
    }

    /// An answer that is not JSON, or not always.
    pub(crate) fn bytes(status: StatusCode, body: Vec<u8>, content_type: &'static str) -> Answer {
        Answer {
            status,
            body: body.into(),
            content_type,
            content_encoding: None,
            error_type: None,
            rate: None,
            cacheable: true,
        }
    }

    /// Says that the body is compressed, so that a client's library undoes it.
    pub(crate) fn named_gzip(mut self) -> Answer {
        self.content_encoding = Some("gzip");
        self
    }

    /// A hypermedia answer of the Solicitations API.
    pub(crate) fn hal(status: StatusCode, body: &Value) -> Answer {
        Answer { content_type: HAL, ..Answer::json(status, body) }
    }

    /// An error in the Selling Partner API's shape.
    pub(crate) fn error(status: StatusCode, code: &'static str, message: &str, details: &str) -> Answer {
        let body = json!({"errors": [{"code": code, "message": message, "details": details}]});
        Answer { error_type: Some(code), ..Answer::json(status, &body) }
    }

    /// 400: the caller sent something it must not send again.
    pub(crate) fn invalid_input(message: &str, details: &str) -> Answer {
        Answer::error(StatusCode::BAD_REQUEST, "InvalidInput", message, details)
    }

    /// 403 of the gateway: the token, or the role, or the path.
    pub(crate) fn access_denied(details: &str) -> Answer {
        let message = "Access to requested resource is denied.";
        Answer::error(StatusCode::FORBIDDEN, "Unauthorized", message, details)
    }

    /// 404: the seller has no such order.
    pub(crate) fn not_found(details: &str) -> Answer {
        let message = "The resource specified does not exist.";
        Answer::error(StatusCode::NOT_FOUND, "NotFound", message, details)
    }

    /// 429: the bucket is empty. Amazon sends neither a rate nor a Retry-After with it.
    pub(crate) fn quota_exceeded() -> Answer {
        let message = "You exceeded your quota for the requested resource.";
        Answer::error(StatusCode::TOO_MANY_REQUESTS, "QuotaExceeded", message, "")
    }

    /// 500.
    pub(crate) fn internal_failure() -> Answer {
        let message = "We encountered an internal error. Please try again.";
        Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", message, "")
    }

    /// 503.
    pub(crate) fn service_unavailable() -> Answer {
        let message = "Service is temporarily unavailable. Please try again.";
        Answer::error(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message, "")
    }

    /// An error in the shape of the sign-in (RFC 6749).
    pub(crate) fn sign_in_error(status: StatusCode, error: &'static str, description: &str) -> Answer {
        Answer::json(status, &json!({"error": error, "error_description": description})).not_stored()
    }

    /// A success that no parser will take.
    pub(crate) fn garbage() -> Answer {
        let body = Bytes::from_static("{\"orders\":[{\"orderId\":\"026-\u{fffd}".as_bytes());
        Answer { body, ..Answer::json(StatusCode::OK, &Value::Null) }
    }

    /// Adds the rate that was applied. Amazon sends it with 20x, 400 and 404 only, so other answers stay as they are.
    pub(crate) fn with_rate(mut self, rate: String) -> Answer {
        let carries = self.status.is_success()
            || self.status == StatusCode::BAD_REQUEST
            || self.status == StatusCode::NOT_FOUND;
        if carries {
            self.rate = Some(rate);
        }
        self
    }

    /// Adds the buyer to what it tells, if it is JSON.
    pub(crate) fn leaking(mut self) -> Answer {
        if let Ok(mut told) = serde_json::from_slice(&self.body) {
            leak_into(&mut told);
            self.body = told.to_string().into_bytes().into();
        }
        self
    }

    /// Forbids caches to keep it: it holds a token.
    pub(crate) fn not_stored(mut self) -> Answer {
        self.cacheable = false;
        self
    }

    /// The body as text.
    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The HTTP response, with the id under which the call is recorded.
    pub(crate) fn into_response(self, request_id: &str) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        // Both are made here from digits, letters and dots; were they not, leaving the header out is within the contract.
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert("x-amzn-requestid", id);
        }
        if let Some(Ok(rate)) = self.rate.map(HeaderValue::try_from) {
            headers.insert("x-amzn-ratelimit-limit", rate);
        }
        if let Some(encoding) = self.content_encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        if let Some(error_type) = self.error_type {
            headers.insert("x-amzn-errortype", HeaderValue::from_static(error_type));
        }
        if !self.cacheable {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_travels_with_successes_and_the_callers_mistakes_only() {
        for (answer, expected) in [
            (Answer::json(StatusCode::OK, &json!({})), true),
            (Answer::hal(StatusCode::CREATED, &json!({})), true),
            (Answer::invalid_input("Invalid Input", ""), true),
            (Answer::not_found(""), true),
            (Answer::access_denied(""), false),
            (Answer::quota_exceeded(), false),
            (Answer::internal_failure(), false),
            (Answer::service_unavailable(), false),
        ] {
            let status = answer.status;
            let response = answer.with_rate("0.5".to_owned()).into_response("id");
            let rate = response.headers().get("x-amzn-ratelimit-limit");
            assert_eq!(rate.is_some(), expected, "{status}");
            assert!(!response.headers().contains_key("retry-after"), "{status}");
        }
    }
}
