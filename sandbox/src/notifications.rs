//! The Notifications API: where the application wants to be told something, and about which sellers what.
//!
//! Destinations belong to the application, subscriptions to a seller. What the application has no business to hear (prices, payments)
//! is refused, and the attempt is kept for the test to see.

use crate::answer::Answer;
use crate::ask::Ask;
use crate::query::InvalidQuery;
use crate::state::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What the application may hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NotificationType {
    /// An order changed.
    OrderChange,
    /// A report ended.
    ReportProcessingFinished,
}

impl NotificationType {
    const ALL: [NotificationType; 2] =
        [NotificationType::OrderChange, NotificationType::ReportProcessingFinished];

    /// Amazon's name of it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            NotificationType::OrderChange => "ORDER_CHANGE",
            NotificationType::ReportProcessingFinished => "REPORT_PROCESSING_FINISHED",
        }
    }

    /// The version of its payload.
    pub(crate) fn payload_version(self) -> &'static str {
        match self {
            NotificationType::OrderChange => "1.0",
            NotificationType::ReportProcessingFinished => "2020-09-04",
        }
    }
}

#[derive(Clone, Debug)]
struct Destination {
    id: String,
    name: String,
    arn: String,
}

/// What a seller's application wants to hear of.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    /// Amazon's id of it.
    pub(crate) id: String,
    destination_id: String,
    directive: Option<Value>,
}

impl Subscription {
    /// Whether its filter lets through what happened to an order in a marketplace.
    pub(crate) fn wants(&self, marketplace_id: &str, change: &str) -> bool {
        let filter = self.directive.as_ref().map_or(&Value::Null, |directive| &directive["eventFilter"]);
        let lets_through = |name: &str, value: &str| {
            filter[name].as_array().is_none_or(|wanted| wanted.iter().any(|one| one == value))
        };
        lets_through("marketplaceIds", marketplace_id) && lets_through("orderChangeTypes", change)
    }
}

/// All destinations and subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    destinations: Vec<Destination>,
    by_seller: BTreeMap<(String, NotificationType), Subscription>,
}

impl Subscriptions {
    /// A seller's subscription, and the ARN of the queue it leads to.
    pub(crate) fn of(&self, seller: &str, about: NotificationType) -> Option<(&Subscription, &str)> {
        let subscription = self.by_seller.get(&(seller.to_owned(), about))?;
        let is_its = |destination: &&Destination| destination.id == subscription.destination_id;
        let destination = self.destinations.iter().find(is_its)?;
        Some((subscription, &destination.arn))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewDestination {
    name: String,
    resource_specification: ResourceSpecification,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceSpecification {
    sqs: SqsResource,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SqsResource {
    arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewSubscription {
    payload_version: String,
    destination_id: String,
    processing_directive: Option<Value>,
}

/// `createDestination`
pub(crate) fn create_destination(state: &mut State, ask: &Ask<'_>) -> Result<Answer, InvalidQuery> {
    ask.query.allow_only(&[])?;
    let wanted: NewDestination = ask.json()?;
    let arn = wanted.resource_specification.sqs.arn;
    if !arn.starts_with("arn:aws:sqs:") || arn.split(':').count() != 6 {
        return Err(InvalidQuery("resourceSpecification.sqs.arn is not the ARN of a queue.".to_owned()));
    }
    if state.subscriptions.destinations.iter().any(|destination| destination.arn == arn) {
        return Ok(conflict("There is a destination with this resource already."));
    }
    state.queues.open(&arn);
    let destination = Destination { id: Uuid::new_v4().to_string(), name: wanted.name, arn };
    let payload = destination_document(&destination);
    state.subscriptions.destinations.push(destination);
    Ok(Answer::json(StatusCode::OK, &json!({"payload": payload})))
}

/// `getDestinations`
pub(crate) fn get_destinations(state: &State, ask: &Ask<'_>) -> Result<Answer, InvalidQuery> {
    ask.query.allow_only(&[])?;
    let payload: Vec<Value> = state.subscriptions.destinations.iter().map(destination_document).collect();
    Ok(Answer::json(StatusCode::OK, &json!({"payload": payload})))
}

/// `createSubscription`
pub(crate) fn create_subscription(state: &mut State, ask: &Ask<'_>) -> Result<Answer, InvalidQuery> {
    ask.query.allow_only(&[])?;
    let Some(about) = notification_type(state, ask) else { return Ok(Answer::access_denied("")) };
    let wanted: NewSubscription = ask.json()?;
    if wanted.payload_version != about.payload_version() {
        return Err(InvalidQuery(format!("payloadVersion must be {}.", about.payload_version())));
    }
    if !state.subscriptions.destinations.iter().any(|destination| destination.id == wanted.destination_id) {
        return Err(InvalidQuery("destinationId names no destination.".to_owned()));
    }
    if let Some(directive) = &wanted.processing_directive {
        check_directive(directive, about)?;
    }
    let key = (ask.seller.to_owned(), about);
    if state.subscriptions.by_seller.contains_key(&key) {
        return Ok(conflict("There is a subscription for this notification type already."));
    }
    let subscription = Subscription {
        id: Uuid::new_v4().to_string(),
        destination_id: wanted.destination_id,
        directive: wanted.processing_directive,
    };
    let payload = subscription_document(&subscription, about);
    state.subscriptions.by_seller.insert(key, subscription);
    Ok(Answer::json(StatusCode::OK, &json!({"payload": payload})))
}

/// `getSubscription`
pub(crate) fn get_subscription(state: &mut State, ask: &Ask<'_>) -> Result<Answer, InvalidQuery> {
    ask.query.allow_only(&["payloadVersion"])?;
    let Some(about) = notification_type(state, ask) else { return Ok(Answer::access_denied("")) };
    let version = ask.query.one("payloadVersion")?;
    let found = state.subscriptions.by_seller.get(&(ask.seller.to_owned(), about));
    match found.filter(|_| version.is_none_or(|version| version == about.payload_version())) {
        Some(found) => {
            let payload = subscription_document(found, about);
            Ok(Answer::json(StatusCode::OK, &json!({"payload": payload})))
        }
        None => Ok(Answer::not_found("The subscription was not found.")),
    }
}

/// What a path names; what the application may not hear of is noted.
fn notification_type(state: &mut State, ask: &Ask<'_>) -> Option<NotificationType> {
    let name = ask.first_subject();
    let known = NotificationType::ALL.into_iter().find(|known| known.name() == name);
    if known.is_none() {
        state.calls.refuse(format!("subscription to {name}"));
    }
    known
}

fn check_directive(directive: &Value, about: NotificationType) -> Result<(), InvalidQuery> {
    let has = |name: &str| directive.get(name).is_some();
    if has("eventFilter") && has("filterExpression") {
        return Err(InvalidQuery("eventFilter and filterExpression exclude each other.".to_owned()));
    }
    if has("filterExpression") {
        return Err(InvalidQuery("The sandbox reads no filterExpression.".to_owned()));
    }
    let fits = directive["eventFilter"]["eventFilterType"] == about.name();
    if has("eventFilter") && !(fits && about == NotificationType::OrderChange) {
        return Err(InvalidQuery(
            "eventFilter.eventFilterType does not fit the notification type.".to_owned(),
        ));
    }
    Ok(())
}

fn destination_document(destination: &Destination) -> Value {
    json!({
        "name": destination.name,
        "destinationId": destination.id,
        "resource": {"sqs": {"arn": destination.arn}},
    })
}

fn subscription_document(subscription: &Subscription, about: NotificationType) -> Value {
    let mut document = json!({
        "subscriptionId": subscription.id,
        "payloadVersion": about.payload_version(),
        "destinationId": subscription.destination_id,
    });
    if let Some(directive) = &subscription.directive {
        document["processingDirective"] = directive.clone();
    }
    document
}

fn conflict(details: &str) -> Answer {
    Answer::error(StatusCode::CONFLICT, "Conflict", "The resource exists already.", details)
}
