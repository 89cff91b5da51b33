//! Listings Items API 2021-08-01, `searchListingsItems`: a seller's listings in a marketplace, with what is wrong with them.
//!
//! The data set with prices (`offers`) and the one with the seller's own texts (`attributes`) cannot be expressed here, and
//! the types have no field for them.
//!
//! Amazon pages through at most 1,000 listings, and does not say how long a page token lives. So listings are read in the
//! order in which they were created, which never changes, and a search can begin at any creation date.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;

use crate::sp_api::{
    CallError, Operation, lenient,
    request::{Request, Success},
};

/// Most listings on a page, and most SKUs in a question. Source: Listings Items API 2021-08-01, model of 2026-08-05.
pub const PAGE: usize = 20;
/// Most listings that Amazon pages through. Source: as above.
pub const PAGED_THROUGH: u64 = 1_000;

/// What is asked of a marketplace's listings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListingsSearch {
    /// A page of those created at or after a moment, the oldest first.
    Created {
        /// The marketplace.
        marketplace_id: String,
        /// Created at or after; `None` for all.
        since: Option<DateTime<Utc>>,
        /// Token of the page, from the page before.
        page_token: Option<String>,
    },
    /// Those with these SKUs, at most [`PAGE`], as [`can_be_asked_for`].
    WithSkus {
        /// The marketplace.
        marketplace_id: String,
        /// Which.
        skus: Vec<String>,
    },
}

/// Whether a SKU can be asked for: Amazon separates them by commas.
#[must_use]
pub fn can_be_asked_for(sku: &str) -> bool {
    !sku.contains(',')
}

/// A page.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListingsPage {
    /// How many listings the search found on all pages.
    #[serde(default)]
    pub number_of_results: Option<u64>,
    /// The listings.
    pub items: Vec<Item>,
    #[serde(default, deserialize_with = "lenient::or_default")]
    pagination: Pagination,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    #[serde(default, deserialize_with = "lenient::text")]
    next_token: Option<String>,
}

/// A listing in all marketplaces that were asked about.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// The seller's product id.
    pub sku: String,
    #[serde(default, deserialize_with = "lenient::or_default")]
    summaries: Vec<Summary>,
    #[serde(default, deserialize_with = "lenient::or_default")]
    issues: Vec<Issue>,
    #[serde(default, deserialize_with = "lenient::or_default")]
    product_types: Vec<ProductType>,
}

/// A listing in one marketplace.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    #[serde(default, deserialize_with = "lenient::text")]
    marketplace_id: Option<String>,
    /// Amazon's product id.
    #[serde(default, deserialize_with = "lenient::text")]
    pub asin: Option<String>,
    /// Amazon's product type.
    #[serde(default, deserialize_with = "lenient::text")]
    pub product_type: Option<String>,
    /// As new_new.
    #[serde(default, deserialize_with = "lenient::text")]
    pub condition_type: Option<String>,
    /// BUYABLE, DISCOVERABLE, both or neither.
    #[serde(default, deserialize_with = "lenient::texts")]
    pub status: Vec<String>,
    /// The id on its label in Amazon's warehouses.
    #[serde(default, rename = "fnSku", deserialize_with = "lenient::text")]
    pub fnsku: Option<String>,
    /// The product's title.
    #[serde(default, deserialize_with = "lenient::text")]
    pub item_name: Option<String>,
    /// When it was created.
    #[serde(default, deserialize_with = "lenient::moment")]
    pub created_date: Option<DateTime<Utc>>,
    /// When it last changed.
    #[serde(default, deserialize_with = "lenient::moment")]
    pub last_updated_date: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProductType {
    #[serde(default, deserialize_with = "lenient::text")]
    marketplace_id: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    product_type: Option<String>,
}

/// What Amazon finds wrong with a listing.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issue {
    /// Amazon's code.
    #[serde(default, deserialize_with = "lenient::text")]
    pub code: Option<String>,
    /// Amazon's words for the seller.
    #[serde(default, deserialize_with = "lenient::text")]
    pub message: Option<String>,
    /// ERROR, WARNING or INFO.
    #[serde(default, deserialize_with = "lenient::text")]
    pub severity: Option<String>,
    /// Attributes of the listing that it is about.
    #[serde(default, deserialize_with = "lenient::texts")]
    pub attribute_names: Vec<String>,
    /// As INVALID_ATTRIBUTE.
    #[serde(default, deserialize_with = "lenient::texts")]
    pub categories: Vec<String>,
    #[serde(default, deserialize_with = "lenient::or_default")]
    enforcements: Enforcements,
    #[serde(default, deserialize_with = "lenient::texts")]
    marketplace_ids: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Enforcements {
    #[serde(default, deserialize_with = "lenient::or_default")]
    actions: Vec<Action>,
    #[serde(default, deserialize_with = "lenient::or_default")]
    exemption: Exemption,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Action {
    #[serde(default, deserialize_with = "lenient::text")]
    action: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Exemption {
    #[serde(default, deserialize_with = "lenient::text")]
    status: Option<String>,
}

impl Issue {
    /// What Amazon does because of it.
    #[must_use]
    pub fn enforcements(&self) -> Vec<String> {
        self.enforcements.actions.iter().filter_map(|action| action.action.clone()).collect()
    }

    /// Whether that is put off.
    #[must_use]
    pub fn exemption(&self) -> Option<&str> {
        self.enforcements.exemption.status.as_deref()
    }
}

impl Item {
    /// The listing in this marketplace, if it is there.
    #[must_use]
    pub fn summary(&self, marketplace_id: &str) -> Option<&Summary> {
        self.summaries.iter().find(|summary| summary.marketplace_id.as_deref() == Some(marketplace_id))
    }

    /// Its product type there, from whichever data set has it.
    #[must_use]
    pub fn product_type(&self, marketplace_id: &str) -> Option<&str> {
        let own = self.product_types.iter().find(|own| own.marketplace_id.as_deref() == Some(marketplace_id));
        own.and_then(|own| own.product_type.as_deref())
            .or_else(|| self.summary(marketplace_id)?.product_type.as_deref())
    }

    /// What is wrong with it there; what names no marketplace is wrong everywhere.
    pub fn issues(&self, marketplace_id: &str) -> impl Iterator<Item = &Issue> {
        self.issues.iter().filter(move |issue| {
            issue.marketplace_ids.is_empty() || issue.marketplace_ids.iter().any(|id| id == marketplace_id)
        })
    }
}

impl ListingsPage {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`CallError::NoAnswer`] when it does not parse.
    pub fn parse(answer: &Success) -> Result<Self, CallError> {
        lenient::read(Operation::SearchListingsItems, &answer.body)
    }

    /// Token of the next page, if there is one.
    #[must_use]
    pub fn next_token(&self) -> Option<&str> {
        self.pagination.next_token.as_deref()
    }

    /// When the last listing on it was created.
    #[must_use]
    pub fn last_created(&self, marketplace_id: &str) -> Option<DateTime<Utc>> {
        self.items.iter().filter_map(|item| item.summary(marketplace_id)?.created_date).max()
    }
}

impl ListingsSearch {
    /// The marketplace.
    #[must_use]
    pub fn marketplace_id(&self) -> &str {
        match self {
            Self::Created { marketplace_id, .. } | Self::WithSkus { marketplace_id, .. } => marketplace_id,
        }
    }

    /// The request about listings of this seller, by Amazon's id.
    #[must_use]
    pub fn request(&self, selling_partner_id: &str) -> Request {
        let mut query = vec![
            ("marketplaceIds", self.marketplace_id().to_owned()),
            ("includedData", "summaries,issues,productTypes".to_owned()),
            ("pageSize", PAGE.to_string()),
        ];
        match self {
            Self::Created { since, page_token, .. } => {
                query.push(("sortBy", "createdDate".to_owned()));
                query.push(("sortOrder", "ASC".to_owned()));
                let since = since.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
                query.extend(since.map(|since| ("createdAfter", since)));
                query.extend(page_token.clone().map(|token| ("pageToken", token)));
            }
            Self::WithSkus { skus, .. } => {
                query.push(("identifiersType", "SKU".to_owned()));
                query.push(("identifiers", skus.join(",")));
            }
        }
        Request::about(Operation::SearchListingsItems, selling_partner_id).query(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UK: &str = "A1F83G8C2ARO7P";

    fn parse(body: &str) -> ListingsPage {
        ListingsPage::parse(&Success { body: body.into(), request_id: None }).expect("a page")
    }

    #[test]
    fn prices_are_neither_asked_for_nor_parsed() {
        for search in [
            ListingsSearch::Created { marketplace_id: UK.into(), since: None, page_token: None },
            ListingsSearch::WithSkus { marketplace_id: UK.into(), skus: vec!["mug".into()] },
        ] {
            let query = search.request("A2EXAMPLE").query;
            let included: Vec<_> = query.iter().filter(|(name, _)| *name == "includedData").collect();
            assert_eq!(included, [&("includedData", "summaries,issues,productTypes".to_owned())]);
        }
        let page = parse(
            r#"{"numberOfResults":1,"items":[{"sku":"mug","summaries":[],
                "offers":[{"marketplaceId":"A1F83G8C2ARO7P","offerType":"B2C","price":{"amount":"771.13"}}]}]}"#,
        );
        assert!(!format!("{page:?}").contains("771.13"));
    }

    #[test]
    fn a_listing_is_read_for_one_marketplace() {
        let page = parse(
            r#"{"numberOfResults":3,"pagination":{"nextToken":"next"},"items":[{"sku":"mug",
                "summaries":[{"marketplaceId":"A1PA6795UKMFR9","status":["BUYABLE"],"createdDate":"2026-01-01T00:00:00Z"},
                    {"marketplaceId":"A1F83G8C2ARO7P","asin":"B000000001","productType":"MUG","status":[],
                    "createdDate":"2026-02-01T00:00:00Z","lastUpdatedDate":"2026-03-01T00:00:00Z"}],
                "issues":[{"code":"1","message":"m","severity":"ERROR","categories":["INVALID_IMAGE"],
                        "marketplaceIds":["A1PA6795UKMFR9"]},
                    {"code":"2","message":"m","severity":"WARNING","categories":[],
                        "enforcements":{"actions":[{"action":"LISTING_SUPPRESSED"}],"exemption":{"status":"NOT_EXEMPT"}}}],
                "productTypes":[{"marketplaceId":"A1F83G8C2ARO7P","productType":"CUP"}]}]}"#,
        );
        assert_eq!((page.next_token(), page.number_of_results), (Some("next"), Some(3)));
        let [item] = &page.items[..] else { panic!("one listing") };
        assert_eq!(item.summary(UK).and_then(|summary| summary.asin.as_deref()), Some("B000000001"));
        assert_eq!(item.product_type(UK), Some("CUP"));
        let issues: Vec<_> = item.issues(UK).collect();
        let [issue] = &issues[..] else { panic!("one issue there: {issues:?}") };
        assert_eq!((issue.code.as_deref(), issue.exemption()), (Some("2"), Some("NOT_EXEMPT")));
        assert_eq!(issue.enforcements(), ["LISTING_SUPPRESSED"]);
        assert_eq!(page.last_created(UK), "2026-02-01T00:00:00Z".parse().ok());
        assert_eq!(page.last_created("elsewhere"), None);
    }

    #[test]
    fn what_is_optional_may_be_missing() {
        let page = parse(
            r#"{"items":[{"sku":"mug","summaries":null,"issues":[{"enforcements":null}]}],"pagination":null}"#,
        );
        assert!(page.next_token().is_none() && page.items[0].summary(UK).is_none());
        assert_eq!(page.items[0].issues(UK).count(), 1);
    }
}
