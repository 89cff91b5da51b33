//! `searchListingsItems`: a seller's listings, with what Amazon complains about in them.
//!
//! Prices come in the data set `offers` only. However many listings there are, at most a thousand can be paged through.

use crate::answer::Answer;
use crate::ask::Ask;
use crate::orders::{FulfilledBy, iso8601};
use crate::page_tokens::PageWanted;
use crate::planted::{BUYER_NAME, SELLER_NAME};
use crate::products::{Issue, Listing, Product};
use crate::query::{InvalidQuery, Query};
use crate::sellers::Seller;
use crate::state::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PARAMETERS: [&str; 15] = [
    "marketplaceIds",
    "issueLocale",
    "includedData",
    "identifiers",
    "identifiersType",
    "createdAfter",
    "createdBefore",
    "lastUpdatedAfter",
    "lastUpdatedBefore",
    "withIssueSeverity",
    "withStatus",
    "sortBy",
    "sortOrder",
    "pageSize",
    "pageToken",
];
const PAGE_SIZES: std::ops::RangeInclusive<usize> = 1..=20;
const USUAL_PAGE_SIZE: usize = 10;
const IDENTIFIERS: usize = 20;
/// Amazon: "The maximum number of items (SKUs) that can be returned and paged through is 1000."
const MOST_RESULTS: usize = 1_000;
const TOKEN_LIFE_SECONDS: f64 = 24.0 * 3600.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
enum DataSet {
    Summaries,
    Attributes,
    Issues,
    Offers,
    FulfillmentAvailability,
    Procurement,
    Relationships,
    ProductTypes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Status {
    Buyable,
    Discoverable,
}

/// `searchListingsItems`
pub(crate) fn search_listings_items(state: &mut State, ask: &Ask<'_>) -> Result<Answer, InvalidQuery> {
    let query = ask.query;
    query.allow_only(&PARAMETERS)?;
    if ask.first_subject() != ask.seller {
        return Ok(Answer::access_denied("The seller id is not that of the access token."));
    }
    let Some(seller) = state.sellers.get(ask.seller) else { return Ok(Answer::access_denied("")) };
    let filters = Filters::parse(query, seller)?;
    let included = included(query)?;
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
        let mut found: Vec<&Product> = shelf.products().filter(|product| filters.fit(product)).collect();
        filters.sort(&mut found);
        found.iter().take(MOST_RESULTS).map(|product| product.identity.sku.clone()).collect()
    })?;
    let items: Vec<Value> = page
        .ids
        .iter()
        .filter_map(|sku| shelf.product(sku))
        .map(|product| item_document(product, &filters, &included))
        .collect();
    let mut body = json!({"numberOfResults": page.total, "items": items});
    if let Some(token) = page.next_token {
        body["pagination"] = json!({"nextToken": token});
    }
    Ok(Answer::json(StatusCode::OK, &body))
}

fn included(query: &Query) -> Result<BTreeSet<DataSet>, InvalidQuery> {
    let mut included = query.names("includedData")?;
    if included.is_empty() {
        included.insert(DataSet::Summaries);
    }
    Ok(included)
}

#[derive(Debug)]
enum SortBy {
    Sku,
    CreatedDate,
    LastUpdatedDate,
}

#[derive(Debug)]
struct Filters {
    marketplaces: Vec<String>,
    identifiers: Vec<String>,
    by_sku: bool,
    created: (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    updated: (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    severities: Vec<String>,
    statuses: BTreeSet<Status>,
    sort_by: SortBy,
    ascending: bool,
}

impl Filters {
    fn parse(query: &Query, seller: &Seller) -> Result<Filters, InvalidQuery> {
        let refuse = |why: String| Err(InvalidQuery(why));
        let owned = |name: &str| query.list(name).into_iter().map(str::to_owned).collect::<Vec<_>>();
        let marketplaces = owned("marketplaceIds");
        if marketplaces.is_empty() {
            return refuse("marketplaceIds is required.".to_owned());
        }
        if let Some(foreign) = marketplaces.iter().find(|id| seller.marketplace(id).is_none()) {
            return refuse(format!("marketplaceIds names {foreign}, where the seller does not sell."));
        }
        let identifiers = owned("identifiers");
        if identifiers.len() > IDENTIFIERS {
            return refuse(format!("identifiers has more than {IDENTIFIERS} values."));
        }
        let by_sku = match (query.one("identifiersType")?, identifiers.is_empty()) {
            (None, true) | (Some("SKU"), false) => true,
            (Some("ASIN"), false) => false,
            _ => {
                return refuse("identifiers and identifiersType (SKU or ASIN) need each other.".to_owned());
            }
        };
        let severities = owned("withIssueSeverity");
        if let Some(wrong) = severities.iter().find(|name| !["WARNING", "ERROR"].contains(&name.as_str())) {
            return refuse(format!("withIssueSeverity has no value {wrong}."));
        }
        Ok(Filters {
            marketplaces,
            identifiers,
            by_sku,
            created: (query.moment("createdAfter")?, query.moment("createdBefore")?),
            updated: (query.moment("lastUpdatedAfter")?, query.moment("lastUpdatedBefore")?),
            severities,
            statuses: query.names("withStatus")?,
            sort_by: match query.one("sortBy")? {
                None | Some("lastUpdatedDate") => SortBy::LastUpdatedDate,
                Some("createdDate") => SortBy::CreatedDate,
                Some("sku") => SortBy::Sku,
                Some(other) => return refuse(format!("sortBy has no value {other}.")),
            },
            ascending: match query.one("sortOrder")? {
                None | Some("DESC") => false,
                Some("ASC") => true,
                Some(other) => return refuse(format!("sortOrder has no value {other}.")),
            },
        })
    }

    fn fit(&self, product: &Product) -> bool {
        let identity = &product.identity;
        let identifier = if self.by_sku { &identity.sku } else { &identity.asin };
        let within = |(after, before): (Option<DateTime<Utc>>, Option<DateTime<Utc>>), at| {
            after.is_none_or(|after| at >= after) && before.is_none_or(|before| at <= before)
        };
        let mut listings = self.listings(product);
        (self.identifiers.is_empty() || self.identifiers.contains(identifier))
            && within(self.created, product.created_at)
            && within(self.updated, product.updated_at)
            && listings.any(|listing| self.fit_listing(listing))
    }

    fn fit_listing(&self, listing: &Listing) -> bool {
        let has_issue =
            |severity: &String| listing.issues.iter().any(|issue| issue.severity == severity.as_str());
        (self.severities.is_empty() || self.severities.iter().any(has_issue))
            && self.statuses.iter().all(|status| match status {
                Status::Buyable => listing.buyable,
                Status::Discoverable => listing.discoverable,
            })
    }

    /// How the marketplaces that were asked for have a product.
    fn listings<'a>(&'a self, product: &'a Product) -> impl Iterator<Item = &'a Listing> {
        let wanted = |listing: &&Listing| self.marketplaces.iter().any(|id| id == listing.marketplace.id);
        product.listings.iter().filter(wanted)
    }

    fn sort(&self, found: &mut [&Product]) {
        found.sort_by(|one, other| {
            let order = match self.sort_by {
                SortBy::Sku => one.identity.sku.cmp(&other.identity.sku),
                SortBy::CreatedDate => one.created_at.cmp(&other.created_at),
                SortBy::LastUpdatedDate => one.updated_at.cmp(&other.updated_at),
            };
            let order = order.then_with(|| one.identity.sku.cmp(&other.identity.sku));
            if self.ascending { order } else { order.reverse() }
        });
    }
}

fn item_document(product: &Product, filters: &Filters, included: &BTreeSet<DataSet>) -> Value {
    let each = |write: &dyn Fn(&Listing) -> Value| -> Value {
        filters.listings(product).map(write).collect::<Vec<_>>().into()
    };
    let mut item = json!({"sku": product.identity.sku});
    for set in included {
        match set {
            DataSet::Summaries => item["summaries"] = each(&|listing| summary_document(product, listing)),
            DataSet::Attributes => item["attributes"] = attributes_document(product),
            DataSet::Issues => item["issues"] = issue_documents(filters.listings(product)),
            DataSet::Offers => item["offers"] = each(&|listing| offer_document(product, listing)),
            DataSet::FulfillmentAvailability => {
                item["fulfillmentAvailability"] = availability_document(product)
            }
            DataSet::ProductTypes => {
                item["productTypes"] = each(&|listing| {
                    json!({
                        "marketplaceId": listing.marketplace.id,
                        "productType": product.identity.goods.product_type,
                    })
                });
            }
            DataSet::Relationships => {
                item["relationships"] =
                    each(&|listing| json!({"marketplaceId": listing.marketplace.id, "relationships": []}));
            }
            // For vendors only.
            DataSet::Procurement => {}
        }
    }
    item
}

fn summary_document(product: &Product, listing: &Listing) -> Value {
    let status: Vec<&str> = [(listing.buyable, "BUYABLE"), (listing.discoverable, "DISCOVERABLE")]
        .into_iter()
        .filter_map(|(is, name)| is.then_some(name))
        .collect();
    let mut summary = json!({
        "marketplaceId": listing.marketplace.id,
        "asin": product.identity.asin,
        "productType": product.identity.goods.product_type,
        "conditionType": "new_new",
        "status": status,
        "itemName": product.identity.goods.title,
        "createdDate": iso8601(product.created_at),
        "lastUpdatedDate": iso8601(product.updated_at),
    });
    if product.fulfilled_by == FulfilledBy::Amazon {
        summary["fnSku"] = json!(listing.fn_sku);
    }
    summary
}

fn attributes_document(product: &Product) -> Value {
    // Attributes have no end; some are about the people who sell and buy.
    json!({
        "item_name": [{"value": product.identity.goods.title}],
        "merchant_note": [{"value": format!("Made for {BUYER_NAME} by {SELLER_NAME}")}],
    })
}

/// Every issue once, with all marketplaces that have it.
fn issue_documents<'a>(listings: impl Iterator<Item = &'a Listing>) -> Value {
    let mut found: Vec<(&Issue, Vec<&str>)> = Vec::new();
    for listing in listings {
        for issue in &listing.issues {
            match found.iter_mut().find(|(known, _)| known.code == issue.code) {
                Some((_, marketplaces)) => marketplaces.push(listing.marketplace.id),
                None => found.push((issue, vec![listing.marketplace.id])),
            }
        }
    }
    found.into_iter().map(|(issue, marketplaces)| issue_document(issue, &marketplaces)).collect()
}

fn issue_document(issue: &Issue, marketplaces: &[&str]) -> Value {
    let mut document = json!({
        "code": issue.code,
        "message": issue.message,
        "severity": issue.severity,
        "categories": issue.categories,
        "marketplaceIds": marketplaces,
    });
    if let Some(attribute) = issue.attribute {
        document["attributeNames"] = json!([attribute]);
    }
    if let Some(enforcement) = issue.enforcement {
        document["enforcements"] =
            json!({"actions": [{"action": enforcement}], "exemption": {"status": "NOT_EXEMPT"}});
    }
    document
}

fn offer_document(product: &Product, listing: &Listing) -> Value {
    let cents = product.identity.goods.unit_price_cents;
    json!({
        "marketplaceId": listing.marketplace.id,
        "offerType": "B2C",
        "price": {
            "currencyCode": listing.marketplace.currency_code,
            "amount": format!("{}.{:02}", cents / 100, cents % 100),
        },
    })
}

fn availability_document(product: &Product) -> Value {
    match product.fulfilled_by {
        // Amazon tells no quantity for what it ships itself.
        FulfilledBy::Amazon => json!([{"fulfillmentChannelCode": "AMAZON_EU"}]),
        FulfilledBy::Merchant => json!([{"fulfillmentChannelCode": "DEFAULT", "quantity": 25}]),
    }
}
