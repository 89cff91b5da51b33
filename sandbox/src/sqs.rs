//! Amazon SQS as its official clients speak it: AWS JSON 1.0, with the action in the header `X-Amz-Target`.
//!
//! Any signature is good, but there must be one. What it costs, and dead-letter queues, are not modelled.

use crate::answer::Answer;
use crate::operations::Operation;
use crate::queues::Received;
use crate::state::State;
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use md5::{Digest, Md5};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

const CONTENT_TYPE: &str = "application/x-amz-json-1.0";
const MOST_MESSAGES: usize = 10;
const USUAL_INVISIBLE_SECONDS: i64 = 30;
const LONGEST_INVISIBLE_SECONDS: i64 = 43_200;
const LONGEST_WAIT_SECONDS: u64 = 20;

/// The operation that a target names, as `AmazonSQS.ReceiveMessage`.
pub(crate) fn operation_of(target: &str) -> Option<Operation> {
    match target.strip_prefix("AmazonSQS.")? {
        "ReceiveMessage" => Some(Operation::ReceiveMessage),
        "DeleteMessage" => Some(Operation::DeleteMessage),
        "DeleteMessageBatch" => Some(Operation::DeleteMessageBatch),
        "GetQueueAttributes" => Some(Operation::GetQueueAttributes),
        "GetQueueUrl" => Some(Operation::GetQueueUrl),
        _ => None,
    }
}

/// Why nothing was done.
struct Refusal {
    code: &'static str,
    message: String,
}

fn refuse(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into() }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Receive {
    queue_url: String,
    #[serde(default = "one")]
    max_number_of_messages: usize,
    #[serde(default = "usual_invisible_seconds")]
    visibility_timeout: i64,
    #[serde(default)]
    wait_time_seconds: u64,
    #[serde(default)]
    attribute_names: Vec<String>,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Delete {
    queue_url: String,
    receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteBatch {
    queue_url: String,
    #[serde(default)]
    entries: Vec<DeleteEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteEntry {
    id: String,
    receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attributes {
    queue_url: String,
    #[serde(default)]
    attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueueName {
    queue_name: String,
}

fn one() -> usize {
    1
}

fn usual_invisible_seconds() -> i64 {
    USUAL_INVISIBLE_SECONDS
}

/// For how long a request would wait for a message if there is none.
pub(crate) fn wait_of(operation: Operation, body: &[u8]) -> Option<Duration> {
    if operation != Operation::ReceiveMessage {
        return None;
    }
    let wanted: Receive = serde_json::from_slice(body).ok()?;
    (1..=LONGEST_WAIT_SECONDS)
        .contains(&wanted.wait_time_seconds)
        .then(|| Duration::from_secs(wanted.wait_time_seconds))
}

/// Whether the queue that a request names has something to receive.
pub(crate) fn has_message(state: &State, body: &[u8], now: DateTime<Utc>) -> bool {
    let wanted: Result<Receive, _> = serde_json::from_slice(body);
    let queue = wanted.ok().and_then(|wanted| state.queues.get(name_in(&wanted.queue_url)));
    // A queue that is not there has an answer at once.
    queue.is_none_or(|queue| queue.counts(now).visible > 0)
}

/// Answers in the queue's place.
pub(crate) fn answer(
    state: &mut State,
    operation: Operation,
    body: &[u8],
    is_signed: bool,
    now: DateTime<Utc>,
) -> Answer {
    if !is_signed {
        let message = "Request is missing Authentication Token";
        return queue_error(StatusCode::FORBIDDEN, "MissingAuthenticationTokenException", message);
    }
    let told = match operation {
        Operation::ReceiveMessage => receive(state, body, now),
        Operation::DeleteMessage => delete(state, body),
        Operation::DeleteMessageBatch => delete_batch(state, body),
        Operation::GetQueueAttributes => attributes(state, body, now),
        _ => queue_url(state, body),
    };
    match told {
        Ok(told) => Answer::bytes(StatusCode::OK, told.to_string().into_bytes(), CONTENT_TYPE),
        Err(Refusal { code, message }) => queue_error(StatusCode::BAD_REQUEST, code, &message),
    }
}

/// An error in the queue's shape.
pub(crate) fn queue_error(status: StatusCode, code: &str, message: &str) -> Answer {
    let body = json!({"__type": format!("com.amazonaws.sqs#{code}"), "message": message});
    Answer::bytes(status, body.to_string().into_bytes(), CONTENT_TYPE)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| refuse("SerializationException", error.to_string()))
}

/// The last part of a queue's URL.
fn name_in(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

fn no_queue() -> Refusal {
    refuse("QueueDoesNotExist", "The specified queue does not exist.")
}

fn receive(state: &mut State, body: &[u8], now: DateTime<Utc>) -> Result<Value, Refusal> {
    let wanted: Receive = parse(body)?;
    let in_order = !state.queues.out_of_order;
    let queue = state.queues.get_mut(name_in(&wanted.queue_url)).ok_or_else(no_queue)?;
    let (most, invisible) = (wanted.max_number_of_messages, wanted.visibility_timeout);
    if !(1..=MOST_MESSAGES).contains(&most)
        || !(0..=LONGEST_INVISIBLE_SECONDS).contains(&invisible)
        || wanted.wait_time_seconds > LONGEST_WAIT_SECONDS
    {
        return Err(refuse("InvalidParameterValue", "A value is out of range."));
    }
    let received = queue.receive(most, TimeDelta::seconds(invisible), in_order, now);
    if received.is_empty() {
        return Ok(json!({}));
    }
    let names: Vec<&str> = [&wanted.attribute_names, &wanted.message_system_attribute_names]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let messages: Vec<Value> = received.iter().map(|received| message_document(received, &names)).collect();
    Ok(json!({"Messages": messages}))
}

fn message_document(received: &Received, names: &[&str]) -> Value {
    let message = &received.message;
    let mut document = json!({
        "MessageId": message.message_id,
        "ReceiptHandle": received.receipt,
        "MD5OfBody": md5_of(&message.body),
        "Body": message.body,
    });
    let attributes = [
        ("SentTimestamp", message.sent_at.timestamp_millis().to_string()),
        ("ApproximateReceiveCount", message.receives.to_string()),
    ];
    let chosen = chosen(&attributes, names);
    if !chosen.is_empty() {
        document["Attributes"] = Value::Object(chosen);
    }
    document
}

fn chosen(attributes: &[(&str, String)], names: &[&str]) -> serde_json::Map<String, Value> {
    let is_wanted = |name: &str| names.contains(&"All") || names.contains(&name);
    let wanted = attributes.iter().filter(|(name, _)| is_wanted(name));
    wanted.map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

/// Some clients compare it with what they received.
fn md5_of(body: &str) -> String {
    Md5::digest(body.as_bytes()).iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

fn delete(state: &mut State, body: &[u8]) -> Result<Value, Refusal> {
    let wanted: Delete = parse(body)?;
    let queue = state.queues.get_mut(name_in(&wanted.queue_url)).ok_or_else(no_queue)?;
    if queue.delete(&wanted.receipt_handle) { Ok(json!({})) } else { Err(no_receipt()) }
}

fn no_receipt() -> Refusal {
    refuse("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
}

fn delete_batch(state: &mut State, body: &[u8]) -> Result<Value, Refusal> {
    let wanted: DeleteBatch = parse(body)?;
    let queue = state.queues.get_mut(name_in(&wanted.queue_url)).ok_or_else(no_queue)?;
    let ids: BTreeSet<&str> = wanted.entries.iter().map(|entry| entry.id.as_str()).collect();
    match wanted.entries.len() {
        0 => return Err(refuse("EmptyBatchRequest", "There should be at least one entry.")),
        more if more > MOST_MESSAGES => {
            return Err(refuse("TooManyEntriesInBatchRequest", "There are more than ten entries."));
        }
        all if all > ids.len() => {
            return Err(refuse("BatchEntryIdsNotDistinct", "Two entries have the same id."));
        }
        _ => {}
    }
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in &wanted.entries {
        if queue.delete(&entry.receipt_handle) {
            successful.push(json!({"Id": entry.id}));
        } else {
            let Refusal { code, message } = no_receipt();
            failed.push(json!({"Id": entry.id, "SenderFault": true, "Code": code, "Message": message}));
        }
    }
    Ok(json!({"Successful": successful, "Failed": failed}))
}

fn attributes(state: &State, body: &[u8], now: DateTime<Utc>) -> Result<Value, Refusal> {
    let wanted: Attributes = parse(body)?;
    let queue = state.queues.get(name_in(&wanted.queue_url)).ok_or_else(no_queue)?;
    let counts = queue.counts(now);
    let attributes = [
        ("QueueArn", queue.arn.clone()),
        ("VisibilityTimeout", USUAL_INVISIBLE_SECONDS.to_string()),
        ("ApproximateNumberOfMessages", counts.visible.to_string()),
        ("ApproximateNumberOfMessagesNotVisible", counts.in_flight.to_string()),
        ("ApproximateNumberOfMessagesDelayed", "0".to_owned()),
    ];
    let names: Vec<&str> = wanted.attribute_names.iter().map(String::as_str).collect();
    Ok(json!({"Attributes": chosen(&attributes, &names)}))
}

fn queue_url(state: &State, body: &[u8]) -> Result<Value, Refusal> {
    let QueueName { queue_name } = parse(body)?;
    state.queues.get(&queue_name).ok_or_else(no_queue)?;
    Ok(json!({"QueueUrl": state.queue_url(&queue_name)}))
}

impl State {
    /// Where a queue is.
    pub(crate) fn queue_url(&self, name: &str) -> String {
        format!("{}/000000000000/{name}", self.base_url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_one_that_clients_compute() {
        assert_eq!(md5_of(""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(md5_of("abc"), "900150983cd24fb0d6963f7d28e17f72");
    }

    #[test]
    fn only_a_receive_waits_and_no_longer_than_twenty_seconds() {
        let body = |seconds: u64| json!({"QueueUrl": "q", "WaitTimeSeconds": seconds}).to_string();
        let wait = |operation, seconds| wait_of(operation, body(seconds).as_bytes());
        assert_eq!(wait(Operation::ReceiveMessage, 20), Some(Duration::from_secs(20)));
        for (operation, seconds) in
            [(Operation::ReceiveMessage, 0), (Operation::ReceiveMessage, 21), (Operation::DeleteMessage, 5)]
        {
            assert_eq!(wait(operation, seconds), None, "{operation:?} {seconds}");
        }
    }
}
