//! Orders API 2026-01-01, `searchOrders`.
//!
//! The only data set asked for is FULFILLMENT. Those with buyer details, proceeds or expenses cannot be expressed here;
//! and the types have no field for them, so what comes unasked is dropped while parsing.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;

use crate::sp_api::{CallError, Operation, lenient, request::Request};

/// One window of changed orders, from its first page or from a page token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchOrders {
    /// Changed at or after.
    pub last_updated_after: DateTime<Utc>,
    /// Changed before; at least two minutes ago.
    pub last_updated_before: DateTime<Utc>,
    /// Where they were placed; at most 50.
    pub marketplace_ids: Vec<String>,
    /// Token of the page, from the page before.
    pub page_token: Option<String>,
}

/// A page.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrdersPage {
    /// The orders.
    pub orders: Vec<Order>,
    #[serde(default)]
    pagination: Option<Pagination>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    #[serde(default)]
    next_token: Option<String>,
}

/// An order, without anything about the buyer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// As 123-1234567-1234567.
    pub order_id: String,
    /// When it was placed.
    pub created_time: DateTime<Utc>,
    /// When it last changed.
    pub last_updated_time: DateTime<Utc>,
    /// Where it was placed.
    pub sales_channel: SalesChannel,
    /// How it is delivered.
    #[serde(default)]
    pub fulfillment: Option<Fulfillment>,
    /// What was ordered.
    pub order_items: Vec<OrderItem>,
}

/// Where an order was placed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SalesChannel {
    /// Amazon's marketplace id; absent for orders from elsewhere.
    #[serde(default)]
    pub marketplace_id: Option<String>,
}

/// How an order is delivered.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fulfillment {
    /// As SHIPPED.
    pub fulfillment_status: String,
    /// MERCHANT or AMAZON.
    #[serde(default)]
    pub fulfilled_by: Option<String>,
    /// The promised delivery window.
    #[serde(default)]
    pub deliver_by_window: Option<Window>,
}

/// A promised window.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Its start.
    #[serde(default)]
    pub earliest_date_time: Option<DateTime<Utc>>,
    /// Its end.
    #[serde(default)]
    pub latest_date_time: Option<DateTime<Utc>>,
}

/// A line of an order.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderItem {
    /// Amazon's id of the line.
    pub order_item_id: String,
    /// How many.
    pub quantity_ordered: i32,
    /// What.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub product: Product,
}

/// A product.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// Amazon's product id.
    #[serde(default)]
    pub asin: Option<String>,
    /// The seller's product id.
    #[serde(default)]
    pub seller_sku: Option<String>,
}

impl OrdersPage {
    /// Reads an answer.
    ///
    /// # Errors
    /// When it does not parse: then nobody can say what the page held, and the call counts as unanswered.
    pub fn parse(body: &[u8]) -> Result<Self, CallError> {
        lenient::read(Operation::SearchOrders, body)
    }

    /// Token of the next page, if there is one.
    #[must_use]
    pub fn next_token(&self) -> Option<&str> {
        self.pagination.as_ref()?.next_token.as_deref().filter(|token| !token.is_empty())
    }
}

impl SearchOrders {
    /// The request.
    #[must_use]
    pub fn request(&self) -> Request {
        let moment = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
        // Amazon wants the same filters with a token as without it.
        let mut query = vec![
            ("lastUpdatedAfter", moment(self.last_updated_after)),
            ("lastUpdatedBefore", moment(self.last_updated_before)),
            ("marketplaceIds", self.marketplace_ids.join(",")),
            ("maxResultsPerPage", "100".to_owned()),
            ("includedData", "FULFILLMENT".to_owned()),
        ];
        query.extend(self.page_token.clone().map(|token| ("paginationToken", token)));
        Request::new(Operation::SearchOrders).query(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_the_buyer_is_not_even_parsed() {
        let body = br#"{"orders":[{"orderId":"123-1234567-1234567","createdTime":"2026-11-01T10:00:00Z",
            "lastUpdatedTime":"2026-11-02T10:00:00Z","salesChannel":{"channelName":"AMAZON","marketplaceId":"A1F83G8C2ARO7P"},
            "buyer":{"buyerName":"Planted Canary"},"recipient":{"deliveryAddress":{"postalCode":"ZZ9 9ZZ"}},
            "orderItems":[{"orderItemId":"1","quantityOrdered":2,"product":{"asin":"B000000001","price":{"unitPrice":{"amount":"1"}}}}]}],
            "pagination":{"nextToken":"next"}}"#;
        let page = OrdersPage::parse(body).expect("a page");
        assert_eq!(page.next_token(), Some("next"));
        assert_eq!(page.orders[0].order_items[0].product.asin.as_deref(), Some("B000000001"));
        let seen = format!("{page:?}");
        assert!(!seen.contains("Canary") && !seen.contains("ZZ9"), "{seen}");
    }

    #[test]
    fn a_broken_page_is_an_error_that_does_not_quote_it() {
        let error =
            OrdersPage::parse(br#"{"orders":[{"orderId":"Planted Canary"#).expect_err("cut").to_string();
        assert!(error.contains("does not parse") && !error.contains("Canary"), "{error}");
    }

    #[test]
    fn only_fulfilment_is_asked_for() {
        let now = DateTime::from_timestamp(1_790_000_000, 0).expect("a moment");
        let search = SearchOrders {
            last_updated_after: now,
            last_updated_before: now,
            marketplace_ids: vec!["A".into(), "B".into()],
            page_token: None,
        };
        let request = search.request();
        let included: Vec<_> = request.query.iter().filter(|(name, _)| *name == "includedData").collect();
        assert_eq!(included, [&("includedData", "FULFILLMENT".to_owned())]);
    }
}
