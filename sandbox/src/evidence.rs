//! What the sandbox can testify to: numbers and orders to compare with what a client says it did.
//!
//! "Eligible" counts what may be solicited now together with what was solicited through the sandbox, so that a client which did
//! all its work finds as many sent as eligible. What vanished counts as sent if it was, but is not listed.

use crate::operations::Operation;
use crate::orders::{FulfillmentStatus, Order};
use crate::solicitations::{Standing, standing};
use crate::state::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What happened so far, in numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Sellers that were seeded.
    pub sellers: usize,
    /// Visible orders.
    pub orders: usize,
    /// Visible orders of each seller.
    pub orders_per_seller: BTreeMap<String, usize>,
    /// Orders that may be solicited now, or were solicited through the sandbox.
    pub review_requests_eligible: usize,
    /// Orders that were solicited through the sandbox.
    pub review_requests_sent: usize,
    /// Solicitations that arrived for an order for which an earlier one had taken effect.
    pub duplicate_requests: u64,
    /// Calls answered 429 because a bucket was empty; scripted ones do not count.
    pub throttled: u64,
    /// Calls received, by operation.
    pub calls: BTreeMap<Operation, u64>,
    /// Method and path of calls for which there is no operation; of reports, the type that nobody has a role for; fetches of
    /// documents that bring credentials. The first thousand.
    pub refused: Vec<String>,
    /// Access tokens given out.
    pub tokens_issued: u64,
}

/// An order as Amazon knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OrderRecord {
    /// Amazon's id.
    pub id: String,
    /// Where it was placed.
    pub marketplace_id: String,
    /// How far it has come.
    pub status: FulfillmentStatus,
    /// When it last changed, in whole seconds.
    pub last_updated_time: DateTime<Utc>,
    /// Its lines.
    pub item_ids: Vec<String>,
    /// Whether it may be solicited now.
    pub eligible: bool,
    /// When it was solicited through the sandbox.
    pub solicited_at: Option<DateTime<Utc>>,
    /// The solicitation that took effect, and those that arrived after it.
    pub solicited_count: u64,
}

/// Sums up.
pub(crate) fn summary(state: &State, now: DateTime<Utc>) -> Summary {
    let orders_per_seller: BTreeMap<String, usize> =
        state.sellers.keys().map(|id| (id.clone(), state.orders.timeline(id).count())).collect();
    let sent = state.orders.all().filter(|order| order.solicited_at.is_some()).count();
    let open = state.orders.all().filter(|order| eligible(order, now)).count();
    Summary {
        sellers: state.sellers.len(),
        orders: orders_per_seller.values().sum(),
        orders_per_seller,
        review_requests_eligible: open + sent,
        review_requests_sent: sent,
        duplicate_requests: state.orders.all().map(|order| order.repeated_requests).sum(),
        throttled: state.throttled,
        calls: state.calls.per_operation(),
        refused: state.calls.refused(),
        tokens_issued: state.sign_in.tokens_issued(),
    }
}

/// Lists the visible orders of each seller by last update.
pub(crate) fn order_records(state: &State, now: DateTime<Utc>) -> BTreeMap<String, Vec<OrderRecord>> {
    let records = |id: &String| state.orders.timeline(id).map(|order| record(order, now)).collect();
    state.sellers.keys().map(|id| (id.clone(), records(id))).collect()
}

fn record(order: &Order, now: DateTime<Utc>) -> OrderRecord {
    OrderRecord {
        id: order.order_id.clone(),
        marketplace_id: order.marketplace.id.to_owned(),
        status: order.status,
        last_updated_time: order.last_updated_at,
        item_ids: order.items.iter().map(|item| item.order_item_id.clone()).collect(),
        eligible: eligible(order, now),
        solicited_at: order.solicited_at,
        solicited_count: u64::from(order.solicited_at.is_some()) + order.repeated_requests,
    }
}

fn eligible(order: &Order, now: DateTime<Utc>) -> bool {
    !order.vanished && standing(order, now) == Standing::Offered
}
