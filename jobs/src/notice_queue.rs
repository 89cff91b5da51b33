//! The queue of ours at AWS that Amazon puts notices into. It delivers at least once, in no order, and hides a message for a
//! while after it was fetched; one that is not deleted by then comes again.

#[cfg(feature = "sqs")]
mod sqs;

use std::{fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use thiserror::Error;

use crate::config::NoticeSettings;

/// A message, as it was fetched. What it says is not shown.
#[derive(Clone)]
pub struct Message {
    /// The queue's id of it, for people.
    pub id: String,
    /// What deletes it.
    pub receipt: String,
    /// What it says.
    pub text: String,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

/// Why the queue could not be used.
#[derive(Debug, Error)]
#[error("could not {what} messages of the queue for notices: {why}")]
pub struct NoticeQueueError {
    /// What was to be done.
    pub what: &'static str,
    /// What failed.
    pub why: String,
}

/// A queue of notices.
pub trait NoticeQueue: fmt::Debug + Send + Sync {
    /// Fetches some messages; waits up to `wait` (whole seconds, at most 20) for the first one.
    fn receive(&self, wait: Duration) -> BoxFuture<'_, Result<Vec<Message>, NoticeQueueError>>;

    /// Deletes messages by their receipts, at most as many as were received at once.
    fn delete(&self, receipts: Vec<String>) -> BoxFuture<'_, Result<(), NoticeQueueError>>;
}

/// Where notices come from.
#[derive(Debug, Clone, Default)]
pub enum NoticeSource {
    /// From nowhere: no queue is configured.
    #[default]
    None,
    /// A queue is configured, and this program was built without what reads it.
    NotBuiltIn,
    /// From a queue.
    Queue {
        /// AWS' name of it, which Amazon is told.
        arn: String,
        /// The queue.
        queue: Arc<dyn NoticeQueue>,
    },
}

impl NoticeSource {
    /// The source that these settings name.
    pub async fn open(settings: Option<NoticeSettings>) -> Self {
        match settings {
            None => Self::None,
            #[cfg(feature = "sqs")]
            Some(settings) => {
                let arn = settings.arn.clone();
                Self::Queue { arn, queue: Arc::new(sqs::Sqs::open(settings).await) }
            }
            #[cfg(not(feature = "sqs"))]
            Some(_) => Self::NotBuiltIn,
        }
    }
}
