//! What a test does to the queue, and the truth about what was sent and received.

use super::Control;
use crate::queues::{FIRST_QUEUE, Message};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A message to send, whatever it says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// What it says.
    pub body: String,
}

/// The queue that is there from the start, and everything that was sent to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueRecord {
    /// Its URL, for whoever receives.
    pub url: String,
    /// Its ARN, for a destination.
    pub arn: String,
    /// Messages that can be received now.
    pub visible: usize,
    /// Messages that were received and neither deleted nor given up.
    pub in_flight: usize,
    /// Every message, duplicates too, oldest first.
    pub messages: Vec<MessageRecord>,
}

/// A message, without what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRecord {
    /// The queue's id of it; duplicates share it.
    pub message_id: String,
    /// Amazon's id of the notification, where it is one.
    pub notification_id: Option<String>,
    /// What the notification is about, as `ORDER_CHANGE`.
    pub notification_type: Option<String>,
    /// The order or the report that it is about.
    pub about: Option<String>,
    /// When it was sent.
    pub sent_at: DateTime<Utc>,
    /// How often it was received.
    pub receives: u64,
    /// Whether it was deleted.
    pub deleted: bool,
}

impl Control {
    /// Sends a message, as nobody else would.
    pub fn push_message(&self, message: &NewMessage) {
        let mut state = self.shared.state();
        let now = self.shared.now();
        if let Some(arn) = state.queues.get(FIRST_QUEUE).map(|queue| queue.arn.clone()) {
            state.queues.send(&arn, &message.body, now);
        }
    }

    /// The queue, after whatever is due has been sent.
    pub fn queue(&self) -> QueueRecord {
        let mut state = self.shared.state();
        let now = self.shared.now();
        state.finish_reports(now);
        let url = state.queue_url(FIRST_QUEUE);
        let queue = state.queues.get(FIRST_QUEUE);
        let counts = queue.map(|queue| queue.counts(now));
        QueueRecord {
            url,
            arn: queue.map(|queue| queue.arn.clone()).unwrap_or_default(),
            visible: counts.map_or(0, |counts| counts.visible),
            in_flight: counts.map_or(0, |counts| counts.in_flight),
            messages: queue.into_iter().flat_map(|queue| queue.all().map(record)).collect(),
        }
    }
}

fn record(message: &Message) -> MessageRecord {
    let body: Value = serde_json::from_str(&message.body).unwrap_or_default();
    let text =
        |places: [&str; 2]| places.iter().find_map(|place| body.pointer(place)?.as_str()).map(str::to_owned);
    MessageRecord {
        message_id: message.message_id.clone(),
        notification_id: text([
            "/NotificationMetadata/NotificationId",
            "/notificationMetadata/notificationId",
        ]),
        notification_type: text(["/NotificationType", "/notificationType"]),
        about: text([
            "/Payload/OrderChangeNotification/AmazonOrderId",
            "/payload/reportProcessingFinishedNotification/reportId",
        ]),
        sent_at: message.sent_at,
        receives: message.receives,
        deleted: message.is_deleted,
    }
}
