//! `searchCatalogItems`: what Amazon's catalogue says of products that are named by their ASINs, above all their sales ranks.
//!
//! An ASIN that is unknown is simply missing from the answer, and so is a product without the marketplace that was asked about.
//! Searching by words, and other identifiers, are not offered: nobody needs them.

use crate::answer::Answer;
use crate::ask::Ask;
use crate::page_tokens::PageWanted;
use crate::products::{Listing, Product};
use crate::query::InvalidQuery;
use crate::state::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PARAMETERS: [&str; 8] = [
    "identifiers",
    "identifiersType",
    "marketplaceIds",
    "includedData",
    "locale",
    "sellerId",
    "pageSize",
    "pageToken",
];
const PAGE_SIZES: std::ops::RangeInclusive<usize> = 1..=20;
const USUAL_PAGE_SIZE: usize = 10;
const IDENTIFIERS: usize = 20;
const TOKEN_LIFE_SECONDS: f64 = 24.0 * 3600.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
enum DataSet {
    Attributes,
    Classifications,
    Dimensions,
    Identifiers,
    Images,
    ProductTypes,
    Relationships,
    SalesRanks,
    Summaries,
    VendorDetails,
}

/// `searchCatalogItems`
pub(crate) fn search_catalog_items(state: &mut State, ask: &Ask<'_>) -> Result<Answer, InvalidQuery> {
    let query = ask.query;
    query.allow_only(&PARAMETERS)?;
    let Some(seller) = state.sellers.get(ask.seller) else { return Ok(Answer::access_denied("")) };
    let marketplace = seller.one_marketplace(query)?;
    let identifiers = query.list("identifiers");
    if identifiers.is_empty() || identifiers.len() > IDENTIFIERS {
        return Err(InvalidQuery(format!("identifiers must have 1 to {IDENTIFIERS} values.")));
    }
    if query.one("identifiersType")? != Some("ASIN") {
        return Err(InvalidQuery("identifiersType must be ASIN.".to_owned()));
    }
    let mut included: BTreeSet<DataSet> = query.names("includedData")?;
    if included.is_empty() {
        included.insert(DataSet::Summaries);
    }
    let size = query.number("pageSize", PAGE_SIZES)?.unwrap_or(USUAL_PAGE_SIZE);

    let shelf = state.shelves.of(seller);
    let wanted = PageWanted {
        seller: ask.seller,
        query,
        parameter: "pageToken",
        now: ask.now,
        size,
        life_seconds: TOKEN_LIFE_SECONDS,
    };
    let page = state.page_tokens.page(&wanted, || {
        // Asked for twice is answered once.
        let asked: BTreeSet<&str> = identifiers.iter().copied().collect();
        asked.into_iter().filter(|asin| shelf.in_catalogue(asin).is_some()).map(str::to_owned).collect()
    })?;
    let item = |asin: &String| {
        let product = shelf.in_catalogue(asin)?;
        Some(item_document(product, product.listing(marketplace.id)?, &included))
    };
    let items: Vec<Value> = page.ids.iter().filter_map(item).collect();
    let mut body = json!({"numberOfResults": page.total, "items": items});
    if let Some(token) = page.next_token {
        body["pagination"] = json!({"nextToken": token});
    }
    Ok(Answer::json(StatusCode::OK, &body))
}

fn item_document(product: &Product, listing: &Listing, included: &BTreeSet<DataSet>) -> Value {
    let goods = product.identity.goods;
    let marketplace = listing.marketplace.id;
    let mut item = json!({"asin": product.identity.asin});
    for set in included {
        match set {
            DataSet::Attributes => {
                item["attributes"] = json!({"item_name": [{"value": goods.title}]});
            }
            DataSet::ProductTypes => {
                item["productTypes"] =
                    json!([{"marketplaceId": marketplace, "productType": goods.product_type}]);
            }
            DataSet::SalesRanks => item["salesRanks"] = json!([ranks_document(product, listing)]),
            DataSet::Summaries => {
                item["summaries"] = json!([{
                    "marketplaceId": marketplace,
                    "brand": "Amzigo Example",
                    "itemClassification": "BASE_PRODUCT",
                    "itemName": goods.title,
                    "websiteDisplayGroup": goods.display_group.0,
                    "websiteDisplayGroupName": goods.display_group.1,
                }]);
            }
            DataSet::Classifications => {
                let (id, name) = goods.classification;
                item["classifications"] = json!([{
                    "marketplaceId": marketplace,
                    "classifications": [{"displayName": name, "classificationId": id}],
                }]);
            }
            DataSet::Identifiers => {
                item["identifiers"] = json!([{
                    "marketplaceId": marketplace,
                    "identifiers": [{"identifierType": "ASIN", "identifier": product.identity.asin}],
                }]);
            }
            // These products have none.
            DataSet::Dimensions | DataSet::Images | DataSet::Relationships | DataSet::VendorDetails => {}
        }
    }
    item
}

fn ranks_document(product: &Product, listing: &Listing) -> Value {
    let (class_id, class_title) = product.identity.goods.classification;
    let (group_id, group_title) = product.identity.goods.display_group;
    json!({
        "marketplaceId": listing.marketplace.id,
        "classificationRanks": [
            {"classificationId": class_id, "title": class_title, "rank": listing.class_rank},
        ],
        "displayGroupRanks": [
            {"websiteDisplayGroup": group_id, "title": group_title, "rank": listing.group_rank},
        ],
    })
}
