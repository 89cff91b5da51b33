//! Notifications API v1: which notices come to us, and to which queue of ours.
//!
//! The types that can be subscribed to are closed: prices, offers and fees have notices, too, and cannot be expressed here.

use serde::Deserialize;
use serde_json::json;

use crate::sp_api::{CallError, Operation, request::Request};

/// A type of notice that we ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoticeType {
    /// An order changed.
    OrderChange,
    /// A report that we asked for is ready, or will not come.
    ReportProcessingFinished,
}

impl NoticeType {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::OrderChange, Self::ReportProcessingFinished];

    /// As Amazon calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OrderChange => "ORDER_CHANGE",
            Self::ReportProcessingFinished => "REPORT_PROCESSING_FINISHED",
        }
    }

    /// Version of what it says. Source: Amazon's notification schemas, commit 34dc93fe45f3 of 2026-08-05.
    const fn payload_version(self) -> &'static str {
        match self {
            Self::OrderChange => "1.0",
            Self::ReportProcessingFinished => "2020-09-04",
        }
    }
}

/// What Amazon calls our queue for ourselves and its support.
const DESTINATION_NAME: &str = "amzigo-notices";

/// A queue that Amazon knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Amazon's id of it.
    pub id: String,
    /// AWS' name of the queue; none for something else than a queue.
    pub queue_arn: Option<String>,
}

#[derive(Deserialize)]
struct Answer<T> {
    payload: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToldDestination {
    destination_id: String,
    #[serde(default)]
    resource: Resource,
}

#[derive(Default, Deserialize)]
struct Resource {
    #[serde(default)]
    sqs: Option<Sqs>,
}

#[derive(Deserialize)]
struct Sqs {
    arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscription {
    destination_id: String,
}

impl From<ToldDestination> for Destination {
    fn from(told: ToldDestination) -> Self {
        Self { id: told.destination_id, queue_arn: told.resource.sqs.map(|sqs| sqs.arn) }
    }
}

/// Asks which queues of ours Amazon knows.
#[must_use]
pub fn destinations_request() -> Request {
    Request::new(Operation::GetDestinations)
}

/// Reads the answer to [`destinations_request`].
///
/// # Errors
/// When it does not parse.
pub fn destinations(body: &[u8]) -> Result<Vec<Destination>, CallError> {
    let told: Vec<ToldDestination> = parse(Operation::GetDestinations, body)?;
    Ok(told.into_iter().map(Destination::from).collect())
}

/// Tells Amazon of a queue.
#[must_use]
pub fn new_destination_request(queue_arn: &str) -> Request {
    let queue = json!({ "name": DESTINATION_NAME, "resourceSpecification": { "sqs": { "arn": queue_arn } } });
    Request::new(Operation::CreateDestination).body(queue)
}

/// Reads the answer to [`new_destination_request`].
///
/// # Errors
/// When it does not parse.
pub fn new_destination(body: &[u8]) -> Result<Destination, CallError> {
    parse::<ToldDestination>(Operation::CreateDestination, body).map(Destination::from)
}

/// Asks where a seller's notices of a type go.
#[must_use]
pub fn subscription_request(notices: NoticeType) -> Request {
    Request::about(Operation::GetSubscription, notices.name())
}

/// Reads the answer to [`subscription_request`]: the id of the destination.
///
/// # Errors
/// When it does not parse.
pub fn subscribed_destination(body: &[u8]) -> Result<String, CallError> {
    parse::<Subscription>(Operation::GetSubscription, body).map(|subscription| subscription.destination_id)
}

/// Lets a seller's notices of a type go to a destination. Of orders, tips are left out: they are about money.
#[must_use]
pub fn new_subscription_request(notices: NoticeType, destination_id: &str) -> Request {
    let mut subscription =
        json!({ "payloadVersion": notices.payload_version(), "destinationId": destination_id });
    if notices == NoticeType::OrderChange {
        subscription["processingDirective"] = json!({
            "eventFilter": {
                "eventFilterType": notices.name(),
                "orderChangeTypes": ["OrderStatusChange", "BuyerRequestedChange"],
            }
        });
    }
    Request::about(Operation::CreateSubscription, notices.name()).body(subscription)
}

fn parse<T: for<'d> Deserialize<'d>>(operation: Operation, body: &[u8]) -> Result<T, CallError> {
    match serde_json::from_slice::<Answer<T>>(body) {
        Ok(answer) => Ok(answer.payload),
        Err(error) => Err(CallError::NoAnswer {
            operation,
            why: format!("the answer does not parse ({:?} at byte {})", error.classify(), error.column()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_with_and_without_a_queue() {
        let body = br#"{"payload":[{"name":"x","destinationId":"d-1","resource":{"sqs":{"arn":"arn:aws:sqs:eu-west-1:1:q"}}},
            {"name":"y","destinationId":"d-2","resource":{"eventBridge":{"name":"n","region":"r","accountId":"a"}}}]}"#;
        let queue =
            |id: &str, arn: Option<&str>| Destination { id: id.into(), queue_arn: arn.map(str::to_owned) };
        let expected = [queue("d-1", Some("arn:aws:sqs:eu-west-1:1:q")), queue("d-2", None)];
        assert_eq!(destinations(body).expect("it parses"), expected);
        assert_eq!(destinations(br#"{"payload":[]}"#).expect("it parses"), []);
        assert!(destinations(b"<html>").expect_err("it does not parse").ambiguous());
    }

    #[test]
    fn prices_offers_and_fees_cannot_be_subscribed_to() {
        let names: Vec<_> = NoticeType::ALL.into_iter().map(NoticeType::name).collect();
        assert_eq!(names, ["ORDER_CHANGE", "REPORT_PROCESSING_FINISHED"]);
        for notices in NoticeType::ALL {
            let request = new_subscription_request(notices, "d-1");
            let body = request.body.expect("it has one").to_string();
            assert!(!body.contains("OFFER") && !body.contains("Tip"), "{body}");
        }
    }
}
