//! FBA Inventory API v1, `getInventorySummaries`: how much of each product Amazon has in store, by marketplace.
//!
//! The token of the next page stands outside of the payload, and dies 30 seconds after it was given.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Deserialize;

use crate::sp_api::{
    CallError, Operation, lenient,
    request::{Request, Success},
};

/// How long after the answer its page token is taken. Source: FBA Inventory API v1, model of 2026-08-05.
pub const TOKEN_LIFE: TimeDelta = TimeDelta::seconds(30);

/// A page of a marketplace's stock: all of it, or what changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventorySearch {
    /// The marketplace.
    pub marketplace_id: String,
    /// Only SKUs whose quantities changed at or after, at most 18 months ago; changes of inbound units do not count.
    pub changed_since: Option<DateTime<Utc>>,
    /// Token of the page, from the page before.
    pub page_token: Option<String>,
}

/// A page.
#[derive(Debug, Deserialize)]
pub struct InventoryPage {
    #[serde(default, deserialize_with = "lenient::or_default")]
    payload: Payload,
    #[serde(default, deserialize_with = "lenient::or_default")]
    pagination: Pagination,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    #[serde(default, deserialize_with = "lenient::or_default")]
    inventory_summaries: Vec<Stock>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    #[serde(default, deserialize_with = "lenient::text")]
    next_token: Option<String>,
}

/// The stock of a SKU, in units.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stock {
    /// The seller's product id; a summary without it says nothing that could be kept.
    #[serde(default, deserialize_with = "lenient::text")]
    pub seller_sku: Option<String>,
    /// Amazon's product id.
    #[serde(default, deserialize_with = "lenient::text")]
    pub asin: Option<String>,
    /// The id on its label in Amazon's warehouses.
    #[serde(default, rename = "fnSku", deserialize_with = "lenient::text")]
    pub fnsku: Option<String>,
    /// As NewItem.
    #[serde(default, deserialize_with = "lenient::text")]
    pub condition: Option<String>,
    /// Units in all.
    #[serde(default)]
    pub total_quantity: Option<i64>,
    /// Where they are.
    #[serde(default, rename = "inventoryDetails", deserialize_with = "lenient::or_default")]
    pub details: Details,
    /// When Amazon last changed a quantity.
    #[serde(default, deserialize_with = "lenient::moment")]
    pub last_updated_time: Option<DateTime<Utc>>,
}

/// Where units are.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    /// Can be sold now.
    pub fulfillable_quantity: Option<i64>,
    /// In shipments that the seller prepares.
    pub inbound_working_quantity: Option<i64>,
    /// On their way.
    pub inbound_shipped_quantity: Option<i64>,
    /// In shipments that are being received.
    pub inbound_receiving_quantity: Option<i64>,
    /// Reserved.
    #[serde(deserialize_with = "lenient::or_default")]
    pub reserved_quantity: Reserved,
    /// Looked for.
    #[serde(deserialize_with = "lenient::or_default")]
    pub researching_quantity: Researching,
    /// Cannot be sold.
    #[serde(deserialize_with = "lenient::or_default")]
    pub unfulfillable_quantity: Unfulfillable,
}

/// Units that are reserved.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reserved {
    /// In all.
    pub total_reserved_quantity: Option<i64>,
    /// For orders.
    pub pending_customer_order_quantity: Option<i64>,
    /// Between warehouses.
    pub pending_transshipment_quantity: Option<i64>,
    /// Set aside in a warehouse.
    pub fc_processing_quantity: Option<i64>,
}

/// Units that Amazon looks for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Researching {
    /// In all.
    pub total_researching_quantity: Option<i64>,
}

/// Units that cannot be sold.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Unfulfillable {
    /// In all.
    pub total_unfulfillable_quantity: Option<i64>,
}

impl InventoryPage {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`CallError::NoAnswer`] when it does not parse.
    pub fn parse(answer: &Success) -> Result<Self, CallError> {
        lenient::read(Operation::GetInventorySummaries, &answer.body)
    }

    /// What is on it.
    #[must_use]
    pub fn stocks(&self) -> &[Stock] {
        &self.payload.inventory_summaries
    }

    /// Token of the next page, if there is one.
    #[must_use]
    pub fn next_token(&self) -> Option<&str> {
        self.pagination.next_token.as_deref()
    }
}

impl InventorySearch {
    /// The request.
    #[must_use]
    pub fn request(&self) -> Request {
        // Amazon wants the first page's filters with every token.
        let mut query = vec![
            ("granularityType", "Marketplace".to_owned()),
            ("granularityId", self.marketplace_id.clone()),
            ("marketplaceIds", self.marketplace_id.clone()),
            ("details", "true".to_owned()),
        ];
        let since = self.changed_since.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
        query.extend(since.map(|since| ("startDateTime", since)));
        query.extend(self.page_token.clone().map(|token| ("nextToken", token)));
        Request::new(Operation::GetInventorySummaries).query(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> InventoryPage {
        InventoryPage::parse(&Success { body: body.into(), request_id: None }).expect("a page")
    }

    #[test]
    fn the_token_stands_outside_of_the_payload() {
        let page = parse(
            r#"{"payload":{"granularity":{"granularityType":"Marketplace","granularityId":"A1F83G8C2ARO7P"},
                "inventorySummaries":[{"sellerSku":"mug","asin":"B000000001","fnSku":"X000000001","totalQuantity":9,
                "lastUpdatedTime":"2026-11-01T10:00:00Z","inventoryDetails":{"fulfillableQuantity":5,
                "reservedQuantity":{"totalReservedQuantity":2,"pendingCustomerOrderQuantity":1}}}]},
                "pagination":{"nextToken":"next"}}"#,
        );
        assert_eq!(page.next_token(), Some("next"));
        let [stock] = page.stocks() else { panic!("one SKU: {page:?}") };
        assert_eq!((stock.seller_sku.as_deref(), stock.fnsku.as_deref()), (Some("mug"), Some("X000000001")));
        assert_eq!((stock.total_quantity, stock.details.fulfillable_quantity), (Some(9), Some(5)));
        assert_eq!(stock.details.reserved_quantity.pending_customer_order_quantity, Some(1));
        assert_eq!(stock.details.inbound_shipped_quantity, None);
    }

    #[test]
    fn everything_but_the_shape_may_be_missing() {
        for body in ["{}", r#"{"payload":null,"pagination":{}}"#, r#"{"pagination":{"nextToken":""}}"#] {
            let page = parse(body);
            assert!(page.stocks().is_empty() && page.next_token().is_none(), "{body}");
        }
        let bare = r#"{"payload":{"inventorySummaries":[{"lastUpdatedTime":"string","inventoryDetails":null},
            {"inventoryDetails":{"reservedQuantity":null}}]}}"#;
        assert!(parse(bare).stocks().iter().all(|stock| stock.seller_sku.is_none()));
    }

    #[test]
    fn a_token_goes_with_the_filters_of_the_first_page() {
        let search = InventorySearch {
            marketplace_id: "A1F83G8C2ARO7P".into(),
            changed_since: "2026-11-01T10:00:00Z".parse().ok(),
            page_token: Some("next".into()),
        };
        let expected = [
            ("granularityType", "Marketplace"),
            ("granularityId", "A1F83G8C2ARO7P"),
            ("marketplaceIds", "A1F83G8C2ARO7P"),
            ("details", "true"),
            ("startDateTime", "2026-11-01T10:00:00Z"),
            ("nextToken", "next"),
        ];
        assert_eq!(search.request().query, expected.map(|(name, value)| (name, value.to_owned())));
    }
}
