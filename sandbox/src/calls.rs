//! Every call the sandbox received, so that a test can compare what a client says it did with what arrived.
//!
//! A call is written down before anything else happens to it: a client that hangs up, or a connection that is cut, leaves a call
//! without a status. Bodies and tokens are not kept. The log forgets its oldest calls when it is full, and counts them.

use crate::faults::Fault;
use crate::operations::Operation;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

const CAPACITY: usize = 200_000;
const REFUSED_KEPT: usize = 1_000;

/// A call as it arrived, and how it was answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// Its number; the first call has 1.
    pub seq: u64,
    /// When it arrived.
    pub at: DateTime<Utc>,
    /// For which seller, where the token tells.
    pub seller: Option<String>,
    /// Which operation, or `None` if the sandbox has none for it.
    pub operation: Option<Operation>,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query as it was sent.
    pub query: String,
    /// The status that was answered; `None` while it runs, and for ever if it was never answered.
    pub status: Option<u16>,
    /// The scripted fault that struck it.
    pub fault: Option<Fault>,
    /// As in the header `x-amzn-RequestId` of the answer.
    pub request_id: String,
    /// The client's `user-agent`.
    pub user_agent: Option<String>,
}

/// Calls behind a number, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallPage {
    /// How many calls the log forgot because it was full.
    pub dropped: u64,
    /// The number of the last call received, whether or not it is in this page.
    pub last_seq: u64,
    /// The calls.
    pub calls: Vec<Call>,
}

/// The log.
#[derive(Debug, Default)]
pub(crate) struct CallLog {
    kept: VecDeque<Call>,
    received: u64,
    per_operation: BTreeMap<Operation, u64>,
    refused: Vec<String>,
}

impl CallLog {
    /// Writes a call down and returns its number.
    pub(crate) fn record(&mut self, mut call: Call) -> u64 {
        self.received += 1;
        call.seq = self.received;
        match call.operation {
            Some(operation) => *self.per_operation.entry(operation).or_default() += 1,
            None => self.refuse(format!("{} {}", call.method, call.path)),
        }
        if self.kept.len() == CAPACITY {
            self.kept.pop_front();
        }
        self.kept.push_back(call);
        self.received
    }

    /// Notes something that was asked of an operation, and that the application has no business to ask.
    pub(crate) fn refuse(&mut self, what: String) {
        if self.refused.len() < REFUSED_KEPT {
            self.refused.push(what);
        }
    }

    /// Adds what became of a call, unless the log has forgotten it by now.
    pub(crate) fn finish(&mut self, seq: u64, status: Option<u16>, fault: Option<Fault>) {
        let forgotten = self.dropped();
        let position = seq.checked_sub(forgotten + 1).and_then(|index| usize::try_from(index).ok());
        if let Some(call) = position.and_then(|index| self.kept.get_mut(index)) {
            call.status = status;
            call.fault = fault;
        }
    }

    /// At most `limit` calls with numbers above `after`.
    pub(crate) fn page(&self, after: u64, limit: usize) -> CallPage {
        let skipped = usize::try_from(after.saturating_sub(self.dropped())).unwrap_or(usize::MAX);
        let calls = self.kept.iter().skip(skipped).take(limit).cloned().collect();
        CallPage { dropped: self.dropped(), last_seq: self.received, calls }
    }

    /// How many calls each operation received.
    pub(crate) fn per_operation(&self) -> BTreeMap<Operation, u64> {
        self.per_operation.clone()
    }

    /// What was refused, the first thousand: method and path of calls that were for no operation, and what was noted.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.refused.clone()
    }

    fn dropped(&self) -> u64 {
        self.received - self.kept.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(path: &str, operation: Option<Operation>) -> Call {
        Call {
            seq: 0,
            at: DateTime::UNIX_EPOCH,
            seller: None,
            operation,
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: String::new(),
            status: None,
            fault: None,
            request_id: String::new(),
            user_agent: None,
        }
    }

    #[test]
    fn calls_are_read_from_a_number_on() {
        let mut log = CallLog::default();
        for path in ["/a", "/b", "/c"] {
            log.record(call(path, None));
        }
        log.finish(2, Some(403), None);
        let page = log.page(1, 10);
        let seen: Vec<_> =
            page.calls.iter().map(|call| (call.seq, call.path.as_str(), call.status)).collect();
        assert_eq!(seen, [(2, "/b", Some(403)), (3, "/c", None)]);
        assert_eq!((page.dropped, page.last_seq), (0, 3));
        assert_eq!(log.page(0, 1).calls.len(), 1);
        assert!(log.page(3, 10).calls.is_empty());
    }

    #[test]
    fn a_full_log_forgets_the_oldest_and_counts_them() {
        let mut log = CallLog::default();
        for _ in 0..CAPACITY + 2 {
            log.record(call("/orders", Some(Operation::SearchOrders)));
        }
        log.finish(1, Some(200), None);
        log.finish(3, Some(201), None);
        let page = log.page(0, 1);
        let [oldest] = &page.calls[..] else { panic!("one call was asked for") };
        assert_eq!((page.dropped, oldest.seq, oldest.status), (2, 3, Some(201)));
        assert_eq!(log.per_operation()[&Operation::SearchOrders], CAPACITY as u64 + 2);
    }
}
