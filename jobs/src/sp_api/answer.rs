//! What Amazon's answers mean: one decision for each class, in one table.
//!
//! A 403 is overloaded: an expired token, a missing role, an order outside of its window and a review that was requested
//! before all say `Unauthorized`; only the words differ. Nothing here is ever taken from a body into a log: only codes and
//! the class.

use reqwest::StatusCode;
use serde::Deserialize;
use thiserror::Error;

/// Amazon's body of an error.
#[derive(Debug, Deserialize)]
struct ErrorList {
    #[serde(default)]
    errors: Vec<AmazonError>,
}

#[derive(Debug, Default, Deserialize)]
struct AmazonError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Option<String>,
}

/// What a 4xx or 5xx means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The access token has expired: get a new one, once.
    #[error("the access token has expired")]
    TokenExpired,
    /// The role is missing, or the seller took the authorisation back.
    #[error("access is denied: a role is missing or the authorisation was taken back")]
    AccessDenied,
    /// The order is outside of the days in which a review may be requested.
    #[error("the order is outside of the days in which a review may be requested")]
    OutsideWindow,
    /// Already requested, the buyer opted out, or not eligible.
    #[error("the solicitation is not available for this order")]
    NotAvailable,
    /// No such thing.
    #[error("there is no such thing")]
    NotFound,
    /// The request is wrong: our fault.
    #[error("the request is wrong")]
    InvalidInput,
    /// The usage plan's bucket is empty.
    #[error("the usage plan's bucket is empty")]
    Throttled,
    /// Amazon is ill. Whether it did what was asked is unknown.
    #[error("Amazon failed")]
    AmazonFailed,
    /// A 4xx that nobody has met yet.
    #[error("Amazon refused for a reason that is not known here")]
    Unknown,
}

/// Classifies an answer that is not a success.
#[must_use]
pub fn classify(status: StatusCode, body: &[u8]) -> Refusal {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Refusal::Throttled,
        status if status.is_server_error() => Refusal::AmazonFailed,
        // Both end something for good, so it must be Amazon that says them: what stands in between answers so, too.
        StatusCode::NOT_FOUND if is_amazons(body) => Refusal::NotFound,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNSUPPORTED_MEDIA_TYPE
            if is_amazons(body) =>
        {
            Refusal::InvalidInput
        }
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => forbidden(&words(body)),
        _ => Refusal::Unknown,
    }
}

/// Whether a body is an error in Amazon's shape.
fn is_amazons(body: &[u8]) -> bool {
    serde_json::from_slice::<ErrorList>(body).is_ok_and(|list| !list.errors.is_empty())
}

/// The words of a body, in lower case; of one that does not parse, all of it: Amazon has sent bodies without their last
/// brace, and apostrophes in the wrong encoding.
fn words(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<ErrorList>(body) {
        Ok(list) => list
            .errors
            .iter()
            .map(|error| {
                format!("{} {} {}", error.code, error.message, error.details.as_deref().unwrap_or(""))
            })
            .collect(),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    text.to_lowercase()
}

fn forbidden(words: &str) -> Refusal {
    let says = |part: &str| words.contains(part);
    if says("token") && (says("expired") || says("missing") || says("revoked") || says("malformed")) {
        Refusal::TokenExpired
    } else if says("outside the 5-30 day range") {
        Refusal::OutsideWindow
    } else if says("solicitation is not available") {
        Refusal::NotAvailable
    } else if says("access to requested resource is denied") {
        Refusal::AccessDenied
    } else {
        Refusal::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_its_decision() {
        let body = |message: &str, details: &str| {
            format!(r#"{{"errors":[{{"code":"Unauthorized","message":"{message}","details":"{details}"}}]}}"#)
        };
        let denied = "Access to requested resource is denied.";
        let cases = [
            (403, body(denied, "The access token you provided has expired."), Refusal::TokenExpired),
            (403, body(denied, "Access token is missing in the request header."), Refusal::TokenExpired),
            (403, body(denied, ""), Refusal::AccessDenied),
            (401, body(denied, ""), Refusal::AccessDenied),
            (
                403,
                body("The requested solicitation is not available for this amazonOrderId.", ""),
                Refusal::NotAvailable,
            ),
            (
                403,
                body(
                    "You canâ€™t use this feature to request a review outside the 5-30 day range after the order delivery date.",
                    "",
                ),
                Refusal::OutsideWindow,
            ),
            // One real body lacked its last brace.
            (
                403,
                r#"{"errors":[{"code":"Unauthorized","message":"You can't use this feature to request a review outside the 5-30 day range after the order delivery date."}]"#
                    .to_owned(),
                Refusal::OutsideWindow,
            ),
            (403, String::new(), Refusal::Unknown),
            (404, body("gone", ""), Refusal::NotFound),
            (404, "<html>".to_owned(), Refusal::Unknown),
            (404, "{}".to_owned(), Refusal::Unknown),
            (400, body("Missing or invalid request parameters: [marketplaceIds]", ""), Refusal::InvalidInput),
            (400, "<html>".to_owned(), Refusal::Unknown),
            (429, body("You exceeded your quota for the requested resource.", ""), Refusal::Throttled),
            (500, "<html>".to_owned(), Refusal::AmazonFailed),
            (503, String::new(), Refusal::AmazonFailed),
            (418, String::new(), Refusal::Unknown),
        ];
        for (status, body, expected) in cases {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(classify(status, body.as_bytes()), expected, "{status} {body}");
        }
    }
}
