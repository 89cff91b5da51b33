//! A queue of notices in memory, as our one at AWS behaves: it delivers what was not deleted once more.

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

use super::MovableClock;
use crate::notice_queue::{Message, NoticeQueue, NoticeQueueError};

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
