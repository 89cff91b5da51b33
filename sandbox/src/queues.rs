//! Message queues as Amazon SQS has them: whatever is sent is received at least once, in whatever order, until it is deleted.
//!
//! What was received is invisible for a while, and comes back unless it is deleted by the newest receipt that was given for it: an
//! older one deletes nothing, and nobody is told. The clock is the wall clock, whatever the speed.

use crate::dice::Dice;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The queue that is there from the start.
pub(crate) const FIRST_QUEUE: &str = "amzigo-notifications";
const FIRST_ARN: &str = "arn:aws:sqs:eu-west-1:000000000000:amzigo-notifications";

/// A message, or one of its duplicates.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The queue's id of it; duplicates share it.
    pub(crate) message_id: String,
    /// What it says.
    pub(crate) body: String,
    /// When it was sent.
    pub(crate) sent_at: DateTime<Utc>,
    /// How often it was received.
    pub(crate) receives: u64,
    /// Whether it was deleted.
    pub(crate) is_deleted: bool,
    visible_at: DateTime<Utc>,
    receipt: Option<String>,
}

/// What was received, with the receipt that deletes it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The message.
    pub(crate) message: Message,
    /// The receipt.
    pub(crate) receipt: String,
}

/// How many messages there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueCounts {
    /// Can be received.
    pub(crate) visible: usize,
    /// Were received, and neither deleted nor given up.
    pub(crate) in_flight: usize,
}

/// A queue with everything that was ever sent to it.
#[derive(Debug)]
pub(crate) struct MessageQueue {
    /// Amazon's name of it.
    pub(crate) arn: String,
    messages: BTreeMap<u64, Message>,
    sent: u64,
}

impl MessageQueue {
    fn new(arn: &str) -> MessageQueue {
        MessageQueue { arn: arn.to_owned(), messages: BTreeMap::new(), sent: 0 }
    }

    /// Sends a message, twice where it shall be duplicated.
    pub(crate) fn send(&mut self, body: &str, duplicated: bool, now: DateTime<Utc>) {
        let message_id = Uuid::new_v4().to_string();
        for _ in 0..if duplicated { 2 } else { 1 } {
            let message = Message {
                message_id: message_id.clone(),
                body: body.to_owned(),
                sent_at: now,
                receives: 0,
                is_deleted: false,
                visible_at: now,
                receipt: None,
            };
            self.sent += 1;
            self.messages.insert(self.sent, message);
        }
    }

    /// Takes up to `most` messages out of sight.
    pub(crate) fn receive(
        &mut self,
        most: usize,
        invisible: TimeDelta,
        in_order: bool,
        now: DateTime<Utc>,
    ) -> Vec<Received> {
        let is_visible = |(_, message): &(&u64, &Message)| !message.is_deleted && message.visible_at <= now;
        let mut numbers: Vec<u64> =
            self.messages.iter().filter(is_visible).map(|(number, _)| *number).collect();
        if !in_order {
            numbers.sort_by_key(|number| Dice::of("out of order", "", *number).below(u64::MAX));
        }
        let mut received = Vec::new();
        for number in numbers.into_iter().take(most) {
            if let Some(message) = self.messages.get_mut(&number) {
                let receipt = format!("{number}.{}", Uuid::new_v4().simple());
                message.receives += 1;
                message.visible_at = now + invisible;
                message.receipt = Some(receipt.clone());
                received.push(Received { message: message.clone(), receipt });
            }
        }
        received
    }

    /// Deletes what a receipt was given for, if it is the newest one. Returns whether it is a receipt at all.
    pub(crate) fn delete(&mut self, receipt: &str) -> bool {
        let number = receipt.split('.').next().and_then(|number| number.parse().ok());
        let message = number.and_then(|number: u64| self.messages.get_mut(&number));
        let Some(message) = message else { return false };
        if message.receipt.as_deref() == Some(receipt) {
            message.is_deleted = true;
        }
        true
    }

    /// How many messages there are now.
    pub(crate) fn counts(&self, now: DateTime<Utc>) -> QueueCounts {
        let kept = self.messages.values().filter(|message| !message.is_deleted);
        let (visible, in_flight): (Vec<_>, Vec<_>) = kept.partition(|message| message.visible_at <= now);
        QueueCounts { visible: visible.len(), in_flight: in_flight.len() }
    }

    /// Everything that was ever sent, oldest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Message> {
        self.messages.values()
    }
}

/// All queues, by name.
#[derive(Debug)]
pub(crate) struct Queues {
    by_name: BTreeMap<String, MessageQueue>,
    /// Send everything twice.
    pub(crate) duplicates: bool,
    /// Hand messages out in another order than they were sent in.
    pub(crate) out_of_order: bool,
}

impl Default for Queues {
    fn default() -> Queues {
        let first = (FIRST_QUEUE.to_owned(), MessageQueue::new(FIRST_ARN));
        Queues { by_name: BTreeMap::from([first]), duplicates: false, out_of_order: false }
    }
}

impl Queues {
    /// The queue with this name.
    pub(crate) fn get(&self, name: &str) -> Option<&MessageQueue> {
        self.by_name.get(name)
    }

    /// The queue with this name, to receive and delete.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut MessageQueue> {
        self.by_name.get_mut(name)
    }

    /// Sends a message to the queue with this ARN, which there is from now on.
    pub(crate) fn send(&mut self, arn: &str, body: &str, now: DateTime<Utc>) {
        let duplicated = self.duplicates;
        self.open(arn).send(body, duplicated, now);
    }

    /// The queue with this ARN, which there is from now on.
    pub(crate) fn open(&mut self, arn: &str) -> &mut MessageQueue {
        let name = name_of(arn).to_owned();
        self.by_name.entry(name).or_insert_with(|| MessageQueue::new(arn))
    }
}

/// The name of a queue in its ARN.
fn name_of(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a valid timestamp")
    }

    fn bodies(received: &[Received]) -> Vec<&str> {
        received.iter().map(|received| received.message.body.as_str()).collect()
    }

    #[test]
    fn what_is_not_deleted_comes_back_and_an_old_receipt_deletes_nothing() {
        let mut queue = MessageQueue::new(FIRST_ARN);
        queue.send("a", false, now());
        let invisible = TimeDelta::seconds(30);
        let first = queue.receive(10, invisible, true, now());
        assert_eq!(bodies(&first), ["a"]);
        assert!(queue.receive(10, invisible, true, now() + TimeDelta::seconds(29)).is_empty());
        let again = queue.receive(10, invisible, true, now() + invisible);
        assert_eq!((bodies(&again), again[0].message.receives), (vec!["a"], 2));

        assert!(queue.delete(&first[0].receipt), "it succeeds and does nothing");
        assert_eq!(queue.counts(now() + invisible), QueueCounts { visible: 0, in_flight: 1 });
        assert!(queue.delete(&again[0].receipt));
        assert_eq!(queue.counts(now() + invisible * 3), QueueCounts { visible: 0, in_flight: 0 });
        assert!(!queue.delete("never given"));
    }

    #[test]
    fn duplicates_are_deleted_one_by_one() {
        let mut queues = Queues { duplicates: true, ..Queues::default() };
        queues.send(FIRST_ARN, "a", now());
        let queue = queues.get_mut(FIRST_QUEUE).expect("it is there from the start");
        let both = queue.receive(10, TimeDelta::seconds(30), true, now());
        assert_eq!(bodies(&both), ["a", "a"]);
        assert_eq!(both[0].message.message_id, both[1].message.message_id);
        assert!(queue.delete(&both[0].receipt));
        assert_eq!(queue.counts(now()), QueueCounts { visible: 0, in_flight: 1 });
    }

    #[test]
    fn out_of_order_is_another_order_with_nothing_missing() {
        let mut queue = MessageQueue::new(FIRST_ARN);
        let sent: Vec<String> = (0..10).map(|number| number.to_string()).collect();
        for body in &sent {
            queue.send(body, false, now());
        }
        let received = queue.receive(10, TimeDelta::zero(), false, now());
        let mut bodies = bodies(&received);
        assert_ne!(bodies, sent);
        bodies.sort_unstable();
        assert_eq!(bodies, sent);
    }
}
