//! Queues of notices for a shop: one in memory that behaves as ours at AWS (it delivers what was not deleted once more), and the
//! sandbox's, through AWS' own client.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use chrono::TimeDelta;
use futures::future::BoxFuture;

use super::{MovableClock, Shop};
#[cfg(feature = "sqs")]
use crate::config::NoticeSettings;
use crate::notice_queue::{Message, NoticeQueue, NoticeQueueError, NoticeSource};

/// AWS' name of the queue for notices.
pub(crate) const QUEUE_ARN: &str = "arn:aws:sqs:eu-west-1:000000000000:notices";

impl Shop {
    /// A queue of notices for the shop's context, which listens to it from now on.
    pub(crate) fn listen(&mut self) -> Arc<TestQueue> {
        let queue = Arc::new(TestQueue::new(Arc::clone(&self.clock)));
        let source = NoticeSource::Queue { arn: QUEUE_ARN.to_owned(), queue: Arc::clone(&queue) as _ };
        Arc::get_mut(&mut self.context).expect("nobody else uses it yet").notices = source;
        queue
    }

    /// Lets the shop's context listen to the queue that the sandbox puts notices into, through AWS' own client.
    #[cfg(feature = "sqs")]
    pub(crate) async fn listen_to_amazon(&mut self) {
        let queue = self.sandbox.control().queue();
        let settings = NoticeSettings {
            url: queue.url.parse().expect("a URL"),
            arn: queue.arn,
            region: "eu-west-1".to_owned(),
            endpoint: self.sandbox.base_url().parse().ok(),
        };
        let source = NoticeSource::open(Some(settings)).await;
        Arc::get_mut(&mut self.context).expect("nobody else uses it yet").notices = source;
    }
}

/// A queue of a test's own.
#[derive(Debug)]
pub(crate) struct TestQueue {
    clock: Arc<MovableClock>,
    put: AtomicUsize,
    messages: Mutex<Vec<Message>>,
    hidden: Mutex<BTreeSet<String>>,
    /// Whether fetching fails.
    pub(crate) is_away: AtomicBool,
    /// Whether deleting fails.
    pub(crate) keeps_all: AtomicBool,
}

impl TestQueue {
    pub(crate) fn new(clock: Arc<MovableClock>) -> Self {
        Self {
            clock,
            put: AtomicUsize::new(0),
            messages: Mutex::default(),
            hidden: Mutex::default(),
            is_away: AtomicBool::new(false),
            keeps_all: AtomicBool::new(false),
        }
    }

    /// Puts a message into it. Its id and receipt are made from how many came before.
    pub(crate) fn put(&self, text: impl Into<String>) {
        let mut messages = self.messages.lock().expect("no test panics here");
        let number = self.put.fetch_add(1, Ordering::Relaxed);
        let message =
            Message { id: format!("m-{number}"), receipt: format!("r-{number}"), text: text.into() };
        messages.push(message);
    }

    /// Ids of the messages that were not deleted.
    pub(crate) fn left(&self) -> Vec<String> {
        self.messages.lock().expect("no test panics here").iter().map(|message| message.id.clone()).collect()
    }

    /// Shows again what was fetched and not deleted, as after some time.
    pub(crate) fn show_again(&self) {
        self.hidden.lock().expect("no test panics here").clear();
    }
}

impl NoticeQueue for TestQueue {
    fn receive(&self, wait: Duration) -> BoxFuture<'_, Result<Vec<Message>, NoticeQueueError>> {
        Box::pin(async move {
            if self.is_away.load(Ordering::Relaxed) {
                return Err(NoticeQueueError { what: "fetch", why: "it is away".to_owned() });
            }
            let mut hidden = self.hidden.lock().expect("no test panics here");
            let messages = self.messages.lock().expect("no test panics here");
            let visible = messages.iter().filter(|message| !hidden.contains(&message.receipt));
            let fetched: Vec<_> = visible.take(10).cloned().collect();
            hidden.extend(fetched.iter().map(|message| message.receipt.clone()));
            if fetched.is_empty() {
                self.clock.advance(TimeDelta::from_std(wait).expect("a short wait"));
            }
            Ok(fetched)
        })
    }

    fn delete(&self, receipts: Vec<String>) -> BoxFuture<'_, Result<(), NoticeQueueError>> {
        Box::pin(async move {
            if self.keeps_all.load(Ordering::Relaxed) {
                return Err(NoticeQueueError { what: "delete", why: "it keeps them".to_owned() });
            }
            let mut messages = self.messages.lock().expect("no test panics here");
            messages.retain(|message| !receipts.contains(&message.receipt));
            Ok(())
        })
    }
}
