//! The queue at AWS' Simple Queue Service, through AWS' own client: it finds our credentials at AWS by itself (environment,
//! profile, the host's role), signs, and repeats what failed in passing.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_sqs::{
    Client,
    config::{Builder, Credentials, timeout::TimeoutConfig},
    error::DisplayErrorContext,
    types::DeleteMessageBatchRequestEntry,
};
use futures::future::BoxFuture;

use crate::{
    config::NoticeSettings,
    notice_queue::{Message, NoticeQueue, NoticeQueueError},
};

/// Most messages of one call. Source: "Amazon SQS API Reference", ReceiveMessage, read 2026-11-25.
const MOST_MESSAGES: i32 = 10;
/// Longest call: the longest wait, and some more.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// A queue at SQS.
#[derive(Debug)]
pub(super) struct Sqs {
    client: Client,
    url: String,
}

impl Sqs {
    pub(super) async fn open(settings: NoticeSettings) -> Self {
        let region = Region::new(settings.region);
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(LONGEST_CALL).build();
        let config = match settings.endpoint {
            // A stand-in on this host: real credentials are neither looked for nor shown to it.
            Some(endpoint) => {
                let nobody = Credentials::new("stand-in", "stand-in", None, None, "stand-in");
                Builder::new()
                    .behavior_version(BehaviorVersion::latest())
                    .region(region)
                    .endpoint_url(endpoint)
                    .credentials_provider(nobody)
                    .timeout_config(timeouts)
                    .build()
            }
            None => {
                let found = aws_config::defaults(BehaviorVersion::latest())
                    .region(region)
                    .timeout_config(timeouts)
                    .load()
                    .await;
                Builder::from(&found).build()
            }
        };
        Self { client: Client::from_conf(config), url: settings.url.into() }
    }
}

impl NoticeQueue for Sqs {
    fn receive(&self, wait: Duration) -> BoxFuture<'_, Result<Vec<Message>, NoticeQueueError>> {
        Box::pin(async move {
            let answer = self
                .client
                .receive_message()
                .queue_url(&self.url)
                .max_number_of_messages(MOST_MESSAGES)
                .wait_time_seconds(i32::try_from(wait.as_secs()).unwrap_or(i32::MAX))
                .send()
                .await
                .map_err(|error| failed("fetch", &error))?;
            let messages = answer.messages.unwrap_or_default().into_iter().map(|message| Message {
                id: message.message_id.unwrap_or_default(),
                receipt: message.receipt_handle.unwrap_or_default(),
                text: message.body.unwrap_or_default(),
            });
            Ok(messages.collect())
        })
    }

    fn delete(&self, receipts: Vec<String>) -> BoxFuture<'_, Result<(), NoticeQueueError>> {
        Box::pin(async move {
            let entries = receipts.into_iter().enumerate().map(|(number, receipt)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(number.to_string())
                    .receipt_handle(receipt)
                    .build()
            });
            let entries = entries.collect::<Result<_, _>>().map_err(|error| failed("delete", &error))?;
            let answer = self
                .client
                .delete_message_batch()
                .queue_url(&self.url)
                .set_entries(Some(entries))
                .send()
                .await
                .map_err(|error| failed("delete", &error))?;
            match answer.failed.first() {
                None => Ok(()),
                Some(entry) => Err(NoticeQueueError { what: "delete", why: entry.code.clone() }),
            }
        })
    }
}

fn failed(what: &'static str, error: &(dyn std::error::Error + Send + Sync + 'static)) -> NoticeQueueError {
    NoticeQueueError { what, why: DisplayErrorContext(error).to_string() }
}
