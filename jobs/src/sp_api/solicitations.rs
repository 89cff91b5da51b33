//! Solicitations API v1: whether a review may be requested for an order, and requesting it.

use serde::Deserialize;
use thiserror::Error;

use crate::sp_api::{CallError, Operation, request::Request};

/// Amazon's name of the action.
const ACTION: &str = "productReviewAndSellerFeedback";

/// An order id that is safe in a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderId(String);

/// What is not an order id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the order id does not look like 123-1234567-1234567")]
pub struct NotAnOrderId;

impl OrderId {
    /// Checks an id from outside.
    ///
    /// # Errors
    /// When it has other characters than letters, digits and dashes, or too many.
    pub fn parse(text: &str) -> Result<Self, NotAnOrderId> {
        let fits = (1..=40).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if fits { Ok(Self(text.to_owned())) } else { Err(NotAnOrderId) }
    }
}

#[derive(Deserialize)]
struct Actions {
    #[serde(rename = "_links")]
    links: Links,
}

#[derive(Deserialize)]
struct Links {
    #[serde(default)]
    actions: Vec<Link>,
}

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    name: String,
}

/// What Amazon answers when it took a request: an object without anything that we need.
#[derive(Deserialize)]
struct Taken {}

/// Asks what may be asked of the order's buyer.
#[must_use]
pub fn actions_request(order: &OrderId, marketplace: &str) -> Request {
    request(Operation::GetSolicitationActions, order, marketplace)
}

/// Requests a review. Amazon's own words, in the buyer's language; it takes no text.
#[must_use]
pub fn review_request(order: &OrderId, marketplace: &str) -> Request {
    request(Operation::RequestReview, order, marketplace)
}

fn request(operation: Operation, order: &OrderId, marketplace: &str) -> Request {
    Request::about(operation, &order.0).query([("marketplaceIds", marketplace.to_owned())])
}

/// Whether the action is offered, from the answer to [`actions_request`]. Amazon sometimes offers nothing at random, so a
/// "no" is not the end.
///
/// # Errors
/// When the answer does not parse.
pub fn offered(body: &[u8]) -> Result<bool, CallError> {
    let actions: Actions = serde_json::from_slice(body).map_err(|error| CallError::NoAnswer {
        operation: Operation::GetSolicitationActions,
        why: format!("the actions do not parse ({:?})", error.classify()),
    })?;
    Ok(actions.links.actions.iter().any(|action| action.name == ACTION))
}

/// Checks that a success of [`review_request`] is Amazon's own: an object, or nothing. A page that something in between
/// answers with 200 does not tell whether Amazon took the request.
///
/// # Errors
/// [`CallError::NoAnswer`] for any other body.
pub fn taken(body: &[u8]) -> Result<(), CallError> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    match serde_json::from_slice::<Taken>(body) {
        Ok(Taken {}) => Ok(()),
        Err(error) => Err(CallError::NoAnswer {
            operation: Operation::RequestReview,
            why: format!("the success does not parse ({:?})", error.classify()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_seen_and_an_empty_list_is_none() {
        let offer = br#"{"_links":{"self":{"href":"x"},"actions":[{"href":"y","name":"productReviewAndSellerFeedback"}]},"_embedded":{"actions":[]}}"#;
        assert!(offered(offer).expect("parses"));
        assert!(!offered(br#"{"_links":{"self":{"href":"x"},"actions":[]}}"#).expect("parses"));
        assert!(!offered(br#"{"_links":{"actions":[{"name":"somethingElse"}]}}"#).expect("parses"));
        assert!(offered(b"<html>").is_err());
    }

    #[test]
    fn only_amazons_own_success_means_that_a_request_was_taken() {
        for own in [&b"{}"[..], br#"{"errors":[]}"#, b"", b"\n"] {
            assert!(taken(own).is_ok(), "{own:?}");
        }
        for strange in [&b"<html>maintenance</html>"[..], br#"{"errors":"#, b"ok", b"[]x"] {
            assert!(taken(strange).expect_err("not Amazon's").ambiguous(), "{strange:?}");
        }
    }

    #[test]
    fn an_id_cannot_leave_its_place_in_the_path() {
        assert!(OrderId::parse("123-1234567-1234567").is_ok());
        for bad in ["", "../../finances", "1/2", "1?x=1", "1%2f2", &"9".repeat(41)] {
            assert_eq!(OrderId::parse(bad), Err(NotAnOrderId), "{bad}");
        }
    }
}
