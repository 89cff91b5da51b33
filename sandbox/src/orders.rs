//! Orders, and the book that keeps them in the order in which they were last updated.
//!
//! The book is what makes paging stable: a page begins behind the last order of the page before, by last update and then by
//! id. An order that changes while a client pages moves to the end, beyond the moment the search was frozen at, and turns up
//! in the next search, as it does with Amazon.

use crate::sellers::Marketplace;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

/// How far an order has come. The names are those of the Orders API 2026-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FulfillmentStatus {
    /// A pre-order whose item is not released.
    PendingAvailability,
    /// Placed, not ready for shipment.
    Pending,
    /// Ready for shipment.
    Unshipped,
    /// Some items shipped.
    PartiallyShipped,
    /// All items shipped.
    Shipped,
    /// Cancelled.
    Cancelled,
    /// Cannot be fulfilled.
    Unfulfillable,
}

/// Who ships an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum FulfilledBy {
    /// The seller (FBM).
    Merchant,
    /// Amazon (FBA).
    Amazon,
}

/// A stretch of time that was promised to the buyer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Its beginning.
    pub(crate) earliest: DateTime<Utc>,
    /// Its end.
    pub(crate) latest: DateTime<Utc>,
}

/// A line of an order.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Amazon's id of the line.
    pub(crate) order_item_id: String,
    /// Amazon's id of the product.
    pub(crate) asin: String,
    /// What the product is called.
    pub(crate) title: &'static str,
    /// The seller's id of the product.
    pub(crate) seller_sku: String,
    /// How many were ordered.
    pub(crate) quantity: u32,
    /// Price of one, in hundredths of the marketplace's currency.
    pub(crate) unit_price_cents: u32,
}

/// An order with everything that decides how Amazon answers for it.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// Amazon's id, as `026-1234567-1234567`.
    pub(crate) order_id: String,
    /// The seller's id.
    pub(crate) seller: String,
    /// Where it was placed.
    pub(crate) marketplace: &'static Marketplace,
    /// When it was placed.
    pub(crate) created_at: DateTime<Utc>,
    /// When it last changed.
    pub(crate) last_updated_at: DateTime<Utc>,
    /// How far it has come.
    pub(crate) status: FulfillmentStatus,
    /// Who ships it.
    pub(crate) fulfilled_by: FulfilledBy,
    /// When it is to be shipped.
    pub(crate) ship_by: Window,
    /// When it is to be delivered.
    pub(crate) deliver_by: Window,
    /// What was ordered, never empty.
    pub(crate) items: Vec<Item>,
    /// The buyer wants no solicitations.
    pub(crate) opted_out: bool,
    /// The seller solicited in Seller Central, or through another application.
    pub(crate) solicited_elsewhere: bool,
    /// When a request through this sandbox took effect.
    pub(crate) solicited_at: Option<DateTime<Utc>>,
    /// How many requests arrived after one had taken effect: each a mistake of the client.
    pub(crate) repeated_requests: u64,
    /// Amazon no longer knows it.
    pub(crate) vanished: bool,
}

impl Order {
    /// Moves an order one step on, as time does: what is pending becomes ready, what is ready gets shipped.
    fn advance(&mut self, at: DateTime<Utc>) {
        self.status = match self.status {
            FulfillmentStatus::PendingAvailability => FulfillmentStatus::Pending,
            FulfillmentStatus::Pending => FulfillmentStatus::Unshipped,
            FulfillmentStatus::Unshipped | FulfillmentStatus::PartiallyShipped => FulfillmentStatus::Shipped,
            last @ (FulfillmentStatus::Shipped
            | FulfillmentStatus::Cancelled
            | FulfillmentStatus::Unfulfillable) => last,
        };
        self.last_updated_at = at;
    }
}

/// A place in a seller's timeline: the last update, then the id.
pub(crate) type Place = (DateTime<Utc>, String);

/// All orders of all sellers.
#[derive(Debug, Default)]
pub(crate) struct OrderBook {
    by_id: HashMap<String, Order>,
    timelines: HashMap<String, BTreeSet<Place>>,
}

impl OrderBook {
    /// Whether an id is taken, also by an order that vanished.
    pub(crate) fn contains(&self, order_id: &str) -> bool {
        self.by_id.contains_key(order_id)
    }

    /// Enters a new order.
    pub(crate) fn insert(&mut self, order: Order) {
        let place = (order.last_updated_at, order.order_id.clone());
        self.timelines.entry(order.seller.clone()).or_default().insert(place);
        self.by_id.insert(order.order_id.clone(), order);
    }

    /// An order that Amazon would show to this seller.
    pub(crate) fn of_seller(&self, seller: &str, order_id: &str) -> Option<&Order> {
        self.by_id.get(order_id).filter(|order| order.seller == seller && !order.vanished)
    }

    /// Any order.
    pub(crate) fn get(&self, order_id: &str) -> Option<&Order> {
        self.by_id.get(order_id)
    }

    /// Any order, to record on it what happened.
    pub(crate) fn get_mut(&mut self, order_id: &str) -> Option<&mut Order> {
        self.by_id.get_mut(order_id)
    }

    /// Every order that ever was, in no particular order, including those that vanished.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Order> {
        self.by_id.values()
    }

    /// A seller's visible orders by last update, then id.
    pub(crate) fn timeline(&self, seller: &str) -> impl Iterator<Item = &Order> {
        self.walk(seller, Bound::Unbounded)
    }

    /// A seller's visible orders from a moment on, or behind a place.
    pub(crate) fn timeline_from(
        &self,
        seller: &str,
        from: Option<DateTime<Utc>>,
        behind: Option<&Place>,
    ) -> impl Iterator<Item = &Order> {
        let start = match (behind, from) {
            (Some(place), _) => Bound::Excluded(place.clone()),
            (None, Some(from)) => Bound::Included((from, String::new())),
            (None, None) => Bound::Unbounded,
        };
        self.walk(seller, start)
    }

    fn walk(&self, seller: &str, start: Bound<Place>) -> impl Iterator<Item = &Order> {
        self.timelines
            .get(seller)
            .into_iter()
            .flat_map(move |timeline| timeline.range((start.clone(), Bound::Unbounded)))
            .filter_map(|(_, order_id)| self.by_id.get(order_id))
    }

    /// Moves the `count` orders of a seller that were quiet for longest one step on. Returns their ids.
    pub(crate) fn advance_oldest(&mut self, seller: &str, count: usize, at: DateTime<Utc>) -> Vec<String> {
        let Some(timeline) = self.timelines.get_mut(seller) else { return Vec::new() };
        let oldest: Vec<Place> = timeline.iter().take(count).cloned().collect();
        let mut moved = Vec::with_capacity(oldest.len());
        for place in oldest {
            timeline.remove(&place);
            let (_, order_id) = place;
            if let Some(order) = self.by_id.get_mut(&order_id) {
                order.advance(at);
            }
            timeline.insert((at, order_id.clone()));
            moved.push(order_id);
        }
        moved
    }

    /// Makes Amazon forget an order. Returns whether it was there. What was solicited stays counted.
    pub(crate) fn vanish(&mut self, order_id: &str) -> bool {
        let Some(order) = self.by_id.get_mut(order_id).filter(|order| !order.vanished) else { return false };
        order.vanished = true;
        if let Some(timeline) = self.timelines.get_mut(&order.seller) {
            timeline.remove(&(order.last_updated_at, order_id.to_owned()));
        }
        true
    }
}

/// Amazon's way to write a moment: ISO 8601 in UTC, without fractions.
pub(crate) fn iso8601(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// How long Amazon takes until a change can be found: searches end two minutes before now.
pub(crate) const SETTLING: TimeDelta = TimeDelta::minutes(2);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sellers::Region;

    /// A shipped order that was delivered `days` before `now`.
    pub(crate) fn delivered(order_id: &str, now: DateTime<Utc>, days: i64) -> Order {
        let day = now - TimeDelta::days(days);
        Order {
            order_id: order_id.to_owned(),
            seller: "A1".to_owned(),
            marketplace: &Region::Eu.marketplaces()[0],
            created_at: day - TimeDelta::days(3),
            last_updated_at: day,
            status: FulfillmentStatus::Shipped,
            fulfilled_by: FulfilledBy::Amazon,
            ship_by: Window { earliest: day - TimeDelta::days(2), latest: day - TimeDelta::days(1) },
            deliver_by: Window { earliest: day, latest: day },
            items: vec![Item {
                order_item_id: "12345678901234".to_owned(),
                asin: "B012345678".to_owned(),
                title: "Tea towel, linen",
                seller_sku: "TEA-1".to_owned(),
                quantity: 2,
                unit_price_cents: 1_299,
            }],
            opted_out: false,
            solicited_elsewhere: false,
            solicited_at: None,
            repeated_requests: 0,
            vanished: false,
        }
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a valid timestamp")
    }

    fn ids<'a>(orders: impl Iterator<Item = &'a Order>) -> Vec<&'a str> {
        orders.map(|order| order.order_id.as_str()).collect()
    }

    fn book() -> OrderBook {
        let mut book = OrderBook::default();
        for (order_id, days) in [("c", 3), ("b", 5), ("a", 5), ("d", 1)] {
            book.insert(delivered(order_id, now(), days));
        }
        book
    }

    #[test]
    fn a_timeline_runs_by_last_update_and_then_by_id() {
        let book = book();
        assert_eq!(ids(book.timeline("A1")), ["a", "b", "c", "d"]);
        assert_eq!(ids(book.timeline("A2")), [""; 0]);

        let place = (now() - TimeDelta::days(5), "a".to_owned());
        assert_eq!(ids(book.timeline_from("A1", None, Some(&place))), ["b", "c", "d"]);
        assert_eq!(ids(book.timeline_from("A1", Some(now() - TimeDelta::days(3)), None)), ["c", "d"]);
    }

    #[test]
    fn an_order_that_changes_moves_to_the_end() {
        let mut book = book();
        assert_eq!(book.advance_oldest("A1", 1, now()), ["a"]);
        assert_eq!(ids(book.timeline("A1")), ["b", "c", "d", "a"]);
    }

    #[test]
    fn a_vanished_order_is_gone_from_every_view_but_keeps_its_id() {
        let mut book = book();
        assert!(book.vanish("b"));
        assert!(!book.vanish("b"), "it is gone already");
        assert!(!book.vanish("x"), "it never was");
        assert_eq!(ids(book.timeline("A1")), ["a", "c", "d"]);
        assert!(book.of_seller("A1", "b").is_none());
        assert!(book.contains("b"));
    }

    #[test]
    fn a_seller_does_not_see_another_sellers_order() {
        assert!(book().of_seller("A1", "a").is_some());
        assert!(book().of_seller("A2", "a").is_none());
    }
}
