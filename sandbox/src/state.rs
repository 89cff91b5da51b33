//! Everything the sandbox knows, behind one lock.
//!
//! One lock is enough: no answer takes longer to compute than a page of orders takes to write, and what must wait (a slow or
//! hanging answer) waits without holding it. State is in memory and gone with the process.

use crate::calls::CallLog;
use crate::charsets::ReportCharset;
use crate::faults::Faults;
use crate::feedback::RemovedFeedback;
use crate::notifications::Subscriptions;
use crate::orders::OrderBook;
use crate::pace::{Clock, Pace};
use crate::page_tokens::PageTokens;
use crate::products::Shelves;
use crate::queues::Queues;
use crate::report_documents::Documents;
use crate::reports::Reports;
use crate::search::PagingTokens;
use crate::sellers::Seller;
use crate::signin::SignIn;
use crate::usage_plans::Buckets;
use chrono::{DateTime, Utc};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The world as Amazon would see it, and what a test wants to know about it.
pub(crate) struct State {
    /// How fast quotas and lifetimes run.
    pub(crate) pace: Pace,
    /// Credentials and tokens.
    pub(crate) sign_in: SignIn,
    /// Sellers by id.
    pub(crate) sellers: BTreeMap<String, Seller>,
    /// Their orders.
    pub(crate) orders: OrderBook,
    /// Paging tokens of searches for orders that live.
    pub(crate) paging: PagingTokens,
    /// What sellers sell.
    pub(crate) shelves: Shelves,
    /// Page tokens of everything else.
    pub(crate) page_tokens: PageTokens,
    /// How long the page tokens of the inventory live, in seconds of the wall clock.
    pub(crate) inventory_token_seconds: f64,
    /// Reports.
    pub(crate) reports: Reports,
    /// Their documents.
    pub(crate) documents: Documents,
    /// Who wants to hear of what.
    pub(crate) subscriptions: Subscriptions,
    /// Where it is told.
    pub(crate) queues: Queues,
    /// Feedback that is no longer there.
    pub(crate) removed_feedback: RemovedFeedback,
    /// What reports are written in, instead of what their marketplace's are.
    pub(crate) report_charset: Option<ReportCharset>,
    /// Whether reports are compressed.
    pub(crate) report_gzip: bool,
    /// How long a document's address lives, in seconds of the wall clock.
    pub(crate) document_url_seconds: f64,
    /// `http://` and the address the sandbox listens on.
    pub(crate) base_url: String,
    /// Quotas.
    pub(crate) buckets: Buckets,
    /// Scripted faults.
    pub(crate) faults: Faults,
    /// Calls received.
    pub(crate) calls: CallLog,
    /// Calls answered 429 because a bucket was empty.
    pub(crate) throttled: u64,
    /// Send buyer data unasked.
    pub(crate) leak_buyer_data: bool,
    /// Decides about faults that are a matter of chance.
    pub(crate) chance: StdRng,
}

/// As Amazon has it: "The string token will expire 30 seconds after being created."
const INVENTORY_TOKEN_SECONDS: f64 = 30.0;
const DOCUMENT_URL_SECONDS: f64 = 300.0;

impl State {
    /// Nothing has happened yet.
    pub(crate) fn new(pace: Pace, sign_in: SignIn, base_url: String, chance_seed: u64) -> State {
        State {
            pace,
            sign_in,
            sellers: BTreeMap::new(),
            orders: OrderBook::default(),
            paging: PagingTokens::default(),
            shelves: Shelves::default(),
            page_tokens: PageTokens::default(),
            inventory_token_seconds: INVENTORY_TOKEN_SECONDS,
            reports: Reports::default(),
            documents: Documents::default(),
            subscriptions: Subscriptions::default(),
            queues: Queues::default(),
            removed_feedback: RemovedFeedback::default(),
            report_charset: None,
            report_gzip: true,
            document_url_seconds: DOCUMENT_URL_SECONDS,
            base_url,
            buckets: Buckets::default(),
            faults: Faults::default(),
            calls: CallLog::default(),
            throttled: 0,
            leak_buyer_data: false,
            chance: StdRng::seed_from_u64(chance_seed),
        }
    }
}

/// The state, with what must be reached without its lock.
pub(crate) struct Shared {
    clock: Clock,
    state: Mutex<State>,
    /// Tells hanging answers that the faults were cleared.
    pub(crate) releases: watch::Sender<()>,
}

impl Shared {
    /// Shares a state.
    pub(crate) fn new(clock: Clock, state: State) -> Shared {
        Shared { clock, state: Mutex::new(state), releases: watch::Sender::new(()) }
    }

    /// The wall clock.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// The state, locked. A panic elsewhere does not make it unusable: a test then still wants to read what happened.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
