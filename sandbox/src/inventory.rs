//! `getInventorySummaries`: how many units of each product Amazon has in its warehouses.
//!
//! Only what Amazon ships has any. A page's token dies after seconds of the wall clock, whatever the speed, because the client
//! must fetch all pages in one go; and it stands outside of the payload, unlike elsewhere.

use crate::answer::Answer;
use crate::ask::Ask;
use crate::orders::{FulfilledBy, iso8601};
use crate::page_tokens::PageWanted;
use crate::products::{Listing, Product, Stock};
use crate::query::InvalidQuery;
use crate::state::State;
use axum::http::StatusCode;
use chrono::{DateTime, Months, Utc};
use serde_json::{Value, json};

const PARAMETERS: [&str; 8] = [
    "details",
    "granularityType",
    "granularityId",
    "startDateTime",
    "sellerSkus",
    "sellerSku",
    "nextToken",
    "marketplaceIds",
];
const PAGE_SIZE: usize = 50;
const SKUS: usize = 50;
const OLDEST_START: Months = Months::new(18);

/// `getInventorySummaries`
pub(crate) fn get_inventory_summaries(state: &mut State, ask: &Ask<'_>) -> Result<Answer, InvalidQuery> {
    let query = ask.query;
    query.allow_only(&PARAMETERS)?;
    let Some(seller) = state.sellers.get(ask.seller) else { return Ok(Answer::access_denied("")) };
    if query.one("granularityType")? != Some("Marketplace") {
        return Err(InvalidQuery("granularityType must be Marketplace.".to_owned()));
    }
    let marketplace = seller.one_marketplace(query)?;
    if query.one("granularityId")? != Some(marketplace.id) {
        return Err(InvalidQuery("granularityId must be the marketplace of marketplaceIds.".to_owned()));
    }
    let details = query.flag("details")?;
    let start = query.moment("startDateTime")?;
    let oldest = ask.now.checked_sub_months(OLDEST_START);
    if start.zip(oldest).is_some_and(|(start, oldest)| start < oldest) {
        return Err(InvalidQuery("startDateTime is more than 18 months ago.".to_owned()));
    }
    let skus: Vec<&str> = query.list("sellerSkus").into_iter().chain(query.one("sellerSku")?).collect();
    if skus.len() > SKUS {
        return Err(InvalidQuery(format!("sellerSkus has more than {SKUS} values.")));
    }

    let shelf = state.shelves.of(seller);
    let wanted = PageWanted {
        seller: ask.seller,
        query,
        parameter: "nextToken",
        now: ask.now,
        size: PAGE_SIZE,
        life_seconds: state.inventory_token_seconds,
    };
    let page = state.page_tokens.page(&wanted, || {
        shelf
            .products()
            .filter(|product| product.fulfilled_by == FulfilledBy::Amazon)
            .filter(|product| changed_since(product, marketplace.id, start))
            .map(|product| product.identity.sku.clone())
            .filter(|sku| skus.is_empty() || skus.contains(&sku.as_str()))
            .collect()
    })?;
    let summary = |sku: &String| {
        let product = shelf.product(sku)?;
        Some(summary_document(product, product.listing(marketplace.id)?, details))
    };
    let summaries: Vec<Value> = page.ids.iter().filter_map(summary).collect();
    let mut body = json!({
        "payload": {
            "granularity": {"granularityType": "Marketplace", "granularityId": marketplace.id},
            "inventorySummaries": summaries,
        },
    });
    if let Some(token) = page.next_token {
        body["pagination"] = json!({"nextToken": token});
    }
    Ok(Answer::json(StatusCode::OK, &body))
}

fn changed_since(product: &Product, marketplace: &str, start: Option<DateTime<Utc>>) -> bool {
    product
        .listing(marketplace)
        .is_some_and(|listing| start.is_none_or(|start| listing.stock_updated_at >= start))
}

fn summary_document(product: &Product, listing: &Listing, details: bool) -> Value {
    let mut summary = json!({
        "asin": product.identity.asin,
        "fnSku": listing.fn_sku,
        "sellerSku": product.identity.sku,
        "condition": "NewItem",
        "lastUpdatedTime": iso8601(listing.stock_updated_at),
        "productName": product.identity.goods.title,
        "totalQuantity": listing.stock.total(),
        "stores": [],
    });
    if details {
        summary["inventoryDetails"] = details_document(&listing.stock);
    }
    summary
}

fn details_document(stock: &Stock) -> Value {
    json!({
        "fulfillableQuantity": stock.fulfillable,
        "inboundWorkingQuantity": stock.inbound_working,
        "inboundShippedQuantity": stock.inbound_shipped,
        "inboundReceivingQuantity": stock.inbound_receiving,
        "reservedQuantity": {
            "totalReservedQuantity": stock.reserved(),
            "pendingCustomerOrderQuantity": stock.reserved_for_orders,
            "pendingTransshipmentQuantity": stock.reserved_in_transfer,
            "fcProcessingQuantity": stock.reserved_in_processing,
        },
        "researchingQuantity": {
            "totalResearchingQuantity": stock.researching,
            "researchingQuantityBreakdown": [
                {"name": "researchingQuantityInShortTerm", "quantity": stock.researching},
                {"name": "researchingQuantityInMidTerm", "quantity": 0},
                {"name": "researchingQuantityInLongTerm", "quantity": 0},
            ],
        },
        "unfulfillableQuantity": {
            "totalUnfulfillableQuantity": stock.unfulfillable(),
            "customerDamagedQuantity": stock.customer_damaged,
            "warehouseDamagedQuantity": stock.warehouse_damaged,
            "distributorDamagedQuantity": 0,
            "carrierDamagedQuantity": 0,
            "defectiveQuantity": 0,
            "expiredQuantity": 0,
        },
    })
}
