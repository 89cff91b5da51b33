//! The closed list of what we may call, by role, with Amazon's usage plans as data.
//!
//! Amazon would also grant our roles some price and fee operations, and we hold the Pricing and Finance roles without ever
//! using them: so the refusal must be ours. An operation that is not in this enum cannot be expressed; and the client
//! checks each request's method and path against it once more, right before the socket.

use reqwest::Method;

/// A role of ours at Amazon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Selling Partner Insights.
    SellingPartnerInsights,
    /// Buyer Communication.
    BuyerCommunication,
    /// Product Listing.
    ProductListing,
    /// Inventory and Order Tracking.
    InventoryAndOrderTracking,
}

impl Role {
    /// As Amazon calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SellingPartnerInsights => "Selling Partner Insights",
            Self::BuyerCommunication => "Buyer Communication",
            Self::ProductListing => "Product Listing",
            Self::InventoryAndOrderTracking => "Inventory and Order Tracking",
        }
    }
}

/// A rate limit of Amazon's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UsagePlan {
    /// Calls per second in the long run.
    pub rate: f64,
    /// Calls at once from a full bucket.
    pub burst: u32,
}

/// Where numbers of Amazon's were read, and when they were true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The document.
    pub document: &'static str,
    /// Its date, or when it was read.
    pub date: &'static str,
}

/// Where the default usage plans come from.
pub const PLANS: Source = Source { document: "Amazon's API models, commit 34dc93fe45f3", date: "2026-08-05" };
/// Where the limits for all of an application's calls come from. Amazon names none for the other operations.
pub const APPLICATION_PLANS: Source =
    Source { document: "Amazon's page \"Catalog Items API rate limits\"", date: "2026-11-23" };

/// Who is served by a call, and whose authorisation goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A seller.
    Seller,
    /// Our application itself, with this scope and without any seller.
    Application(&'static str),
}

/// Scope of the calls about where notifications go.
const NOTIFICATIONS: &str = "sellingpartnerapi::notifications";

/// Everything we may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Sellers API v1: where the seller sells.
    GetMarketplaceParticipations,
    /// Orders API 2026-01-01: a page of orders.
    SearchOrders,
    /// FBA Inventory API v1: a page of stock.
    GetInventorySummaries,
    /// Listings Items API 2021-08-01: a page of the seller's listings.
    SearchListingsItems,
    /// Catalog Items API 2022-04-01: sales ranks of up to twenty products.
    SearchCatalogItems,
    /// Sales API v1: what was sold, by day.
    GetOrderMetrics,
    /// Reports API 2021-06-30: asks for a report.
    CreateReport,
    /// Reports API 2021-06-30: how far a report is.
    GetReport,
    /// Reports API 2021-06-30: where a report's document is.
    GetReportDocument,
    /// Solicitations API v1: what may be asked of an order's buyer now.
    GetSolicitationActions,
    /// Solicitations API v1: asks an order's buyer for a review, in Amazon's words.
    RequestReview,
    /// Notifications API v1: the queues of ours that Amazon knows.
    GetDestinations,
    /// Notifications API v1: tells Amazon of a queue of ours.
    CreateDestination,
    /// Notifications API v1: whether a seller's notices of a type come to us.
    GetSubscription,
    /// Notifications API v1: lets a seller's notices of a type come to us.
    CreateSubscription,
}

/// A row of the table of operations.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Amazon's operation id.
    pub name: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// Path; `{}` stands for one id.
    pub path: &'static str,
    /// Who is served.
    pub caller: Caller,
    /// Any one of them suffices.
    pub roles: &'static [Role],
    /// Amazon's default usage plan for one application and one selling partner ([`PLANS`]). Moved by the rate header.
    pub plan: UsagePlan,
    /// Amazon's limit for all calls of one application in a region, where it names one ([`APPLICATION_PLANS`]).
    pub application_plan: Option<UsagePlan>,
    /// Why we call it, for the page that says so.
    pub why: &'static str,
}

const ANY_OF_OURS: &[Role] = &[
    Role::SellingPartnerInsights,
    Role::BuyerCommunication,
    Role::ProductListing,
    Role::InventoryAndOrderTracking,
];
const PRODUCT_LISTING: &[Role] = &[Role::ProductListing];
const SELLING_PARTNER_INSIGHTS: &[Role] = &[Role::SellingPartnerInsights];
const INVENTORY_AND_ORDER_TRACKING: &[Role] = &[Role::InventoryAndOrderTracking];

const fn plan(rate: f64, burst: u32) -> UsagePlan {
    UsagePlan { rate, burst }
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::GetMarketplaceParticipations,
        Self::SearchOrders,
        Self::GetInventorySummaries,
        Self::SearchListingsItems,
        Self::SearchCatalogItems,
        Self::GetOrderMetrics,
        Self::CreateReport,
        Self::GetReport,
        Self::GetReportDocument,
        Self::GetSolicitationActions,
        Self::RequestReview,
        Self::GetDestinations,
        Self::CreateDestination,
        Self::GetSubscription,
        Self::CreateSubscription,
    ];

    /// Its row of the table.
    #[must_use]
    pub const fn entry(self) -> Entry {
        match self {
            Self::GetMarketplaceParticipations => Entry {
                name: "getMarketplaceParticipations",
                method: "GET",
                path: "/sellers/v1/marketplaceParticipations",
                caller: Caller::Seller,
                roles: ANY_OF_OURS,
                plan: plan(0.016, 15),
                application_plan: None,
                why: "Where the seller sells, so that only that is synced.",
            },
            Self::SearchOrders => Entry {
                name: "searchOrders",
                method: "GET",
                path: "/orders/2026-01-01/orders",
                caller: Caller::Seller,
                roles: ANY_OF_OURS,
                plan: plan(0.0056, 20),
                application_plan: None,
                why: "Order status and delivery windows, without anything about the buyer.",
            },
            Self::GetInventorySummaries => Entry {
                name: "getInventorySummaries",
                method: "GET",
                path: "/fba/inventory/v1/summaries",
                caller: Caller::Seller,
                roles: PRODUCT_LISTING,
                plan: plan(2.0, 2),
                application_plan: None,
                why: "How much of each product Amazon has in store for the seller.",
            },
            Self::SearchListingsItems => Entry {
                name: "searchListingsItems",
                method: "GET",
                path: "/listings/2021-08-01/items/{}",
                caller: Caller::Seller,
                roles: PRODUCT_LISTING,
                plan: plan(5.0, 5),
                application_plan: None,
                why: "The seller's listings, their status and what Amazon finds wrong with them, without prices.",
            },
            Self::SearchCatalogItems => Entry {
                name: "searchCatalogItems",
                method: "GET",
                path: "/catalog/2022-04-01/items",
                caller: Caller::Seller,
                roles: PRODUCT_LISTING,
                plan: plan(2.0, 2),
                application_plan: Some(plan(500.0, 500)),
                why: "Sales ranks of the seller's products, twenty a call.",
            },
            Self::GetOrderMetrics => Entry {
                name: "getOrderMetrics",
                method: "GET",
                path: "/sales/v1/orderMetrics",
                caller: Caller::Seller,
                roles: &[Role::InventoryAndOrderTracking, Role::ProductListing],
                plan: plan(0.5, 15),
                application_plan: None,
                why: "Units and orders by day, and by day and product.",
            },
            Self::CreateReport => Entry {
                name: "createReport",
                method: "POST",
                path: "/reports/2021-06-30/reports",
                caller: Caller::Seller,
                roles: SELLING_PARTNER_INSIGHTS,
                plan: plan(0.0167, 15),
                application_plan: None,
                why: "Asks for the reports on account health and seller feedback; no other type can be asked for.",
            },
            Self::GetReport => Entry {
                name: "getReport",
                method: "GET",
                path: "/reports/2021-06-30/reports/{}",
                caller: Caller::Seller,
                roles: SELLING_PARTNER_INSIGHTS,
                plan: plan(2.0, 15),
                application_plan: None,
                why: "Whether a report that we asked for is ready.",
            },
            Self::GetReportDocument => Entry {
                name: "getReportDocument",
                method: "GET",
                path: "/reports/2021-06-30/documents/{}",
                caller: Caller::Seller,
                roles: SELLING_PARTNER_INSIGHTS,
                plan: plan(0.0167, 15),
                application_plan: None,
                why: "Where a report that is ready can be fetched.",
            },
            Self::GetSolicitationActions => Entry {
                name: "getSolicitationActionsForOrder",
                method: "GET",
                path: "/solicitations/v1/orders/{}",
                caller: Caller::Seller,
                roles: PRODUCT_LISTING,
                plan: plan(1.0, 5),
                application_plan: None,
                why: "Whether Amazon offers a review request for an order.",
            },
            Self::RequestReview => Entry {
                name: "createProductReviewAndSellerFeedbackSolicitation",
                method: "POST",
                path: "/solicitations/v1/orders/{}/solicitations/productReviewAndSellerFeedback",
                caller: Caller::Seller,
                roles: PRODUCT_LISTING,
                plan: plan(1.0, 5),
                application_plan: None,
                why: "Asks the buyer of an order for a review, once, in Amazon's words.",
            },
            Self::GetDestinations => Entry {
                name: "getDestinations",
                method: "GET",
                path: "/notifications/v1/destinations",
                caller: Caller::Application(NOTIFICATIONS),
                roles: INVENTORY_AND_ORDER_TRACKING,
                plan: plan(1.0, 5),
                application_plan: None,
                why: "Whether Amazon knows our queue for notices.",
            },
            Self::CreateDestination => Entry {
                name: "createDestination",
                method: "POST",
                path: "/notifications/v1/destinations",
                caller: Caller::Application(NOTIFICATIONS),
                roles: INVENTORY_AND_ORDER_TRACKING,
                plan: plan(1.0, 5),
                application_plan: None,
                why: "Tells Amazon of our queue for notices.",
            },
            Self::GetSubscription => Entry {
                name: "getSubscription",
                method: "GET",
                path: "/notifications/v1/subscriptions/{}",
                caller: Caller::Seller,
                roles: INVENTORY_AND_ORDER_TRACKING,
                plan: plan(1.0, 5),
                application_plan: None,
                why: "Whether a seller's notices of changed orders and finished reports come to us.",
            },
            Self::CreateSubscription => Entry {
                name: "createSubscription",
                method: "POST",
                path: "/notifications/v1/subscriptions/{}",
                caller: Caller::Seller,
                roles: INVENTORY_AND_ORDER_TRACKING,
                plan: plan(1.0, 5),
                application_plan: None,
                why: "Lets a seller's notices of changed orders and finished reports come to us; no other type can be subscribed to.",
            },
        }
    }

    /// Its path with this id in the place of `{}`. Whether the id fits there is looked at right before the socket.
    #[must_use]
    pub(super) fn path(self, id: &str) -> String {
        self.entry().path.replace("{}", id)
    }

    /// The operation that a request is, if it is one of ours.
    #[must_use]
    pub fn of_request(method: &Method, path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| {
            let entry = operation.entry();
            method.as_str() == entry.method && matches_template(entry.path, path)
        })
    }
}

/// `{}` stands for one segment that no server could read as another path.
fn matches_template(template: &str, path: &str) -> bool {
    let mut actual = path.split('/');
    let fits = template.split('/').all(|expected| {
        actual.next().is_some_and(
            |segment| {
                if expected == "{}" { is_id(segment) } else { segment == expected }
            },
        )
    });
    fits && actual.next().is_none()
}

/// Whether it is letters, digits, dashes, underscores and single dots between them, as Amazon's ids are.
fn is_id(segment: &str) -> bool {
    segment.split('.').all(|part| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        path::{Path, PathBuf},
    };

    use serde_json::Value;

    use super::*;

    #[test]
    fn ours_are_recognised() {
        let get = Operation::of_request(&Method::GET, "/solicitations/v1/orders/123-1234567-1234567");
        assert_eq!(get, Some(Operation::GetSolicitationActions));
        for operation in Operation::ALL {
            let entry = operation.entry();
            let method = entry.method.parse().expect("a method");
            let path = operation.path("123-1234567-1234567");
            assert_eq!(Operation::of_request(&method, &path), Some(operation));
            assert!(!entry.roles.is_empty(), "{} needs a role", entry.name);
        }
    }

    #[test]
    fn paths_that_only_look_like_ours_are_not() {
        for path in [
            "/orders/2026-01-01/orders/",
            "/orders/2026-01-01/orders/../../../finances/v0/financialEvents",
            "/orders/v0/orders",
            "/solicitations/v1/orders/",
            "/solicitations/v1/orders/%2e%2e",
            "/solicitations/v1/orders/..",
            "/reports/2021-06-30/reports/.",
            "/reports/2021-06-30/documents/amzn1..id",
            "/solicitations/v1/orders/1/2",
            "/products/pricing/v0/price",
            "/finances/v0/financialEvents",
        ] {
            assert_eq!(Operation::of_request(&Method::GET, path), None, "{path}");
        }
        assert_eq!(Operation::of_request(&Method::DELETE, "/orders/2026-01-01/orders"), None);
    }
    /// Amazon's models lie beside the project, not in it.
    const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/spapi-models/models");

    /// Method and path of everything that Amazon offers, with an id for each parameter; nothing where the models are
    /// missing, which is said loudly.
    fn everything_amazon_offers() -> Vec<(Method, String)> {
        let mut offered = Vec::new();
        for file in models(Path::new(MODELS)) {
            let text = std::fs::read_to_string(&file).expect("the model can be read");
            let model: Value = serde_json::from_str(&text).expect("a model is JSON");
            let base = model["basePath"].as_str().unwrap_or("/").trim_end_matches('/');
            for (path, operations) in model["paths"].as_object().expect("a model has paths") {
                let methods = operations.as_object().expect("a path has methods").keys();
                for method in methods.filter(|method| *method != "parameters") {
                    let method = method.to_uppercase().parse().expect("a method");
                    offered.push((method, with_ids(&format!("{base}{path}"))));
                }
            }
        }
        if offered.is_empty() {
            // Written past the test harness, which keeps what a passing test prints to itself.
            writeln!(std::io::stderr(), "NOT CHECKED: Amazon's models are not in {MODELS}").ok();
        }
        offered
    }

    fn models(folder: &Path) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let paths = entries.map(|entry| entry.expect("the folder can be listed").path());
        paths
            .flat_map(|path| if path.is_dir() { models(&path) } else { vec![path] })
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect()
    }

    /// The path with an order's id in each of its parameters.
    fn with_ids(path: &str) -> String {
        let fill = |segment: &'_ str| {
            if segment.starts_with('{') { "123-1234567-1234567".to_owned() } else { segment.to_owned() }
        };
        path.split('/').map(fill).collect::<Vec<_>>().join("/")
    }

    #[test]
    fn of_all_that_amazon_offers_only_ours_can_be_asked_for() {
        let offered = everything_amazon_offers();
        let ours = |(method, path): &(Method, String)| Operation::of_request(method, path).is_some();
        let mut taken: Vec<_> = offered.iter().filter(|request| ours(request)).collect();
        taken.sort_by_key(|(method, path)| (path.clone(), method.to_string()));
        let mut expected: Vec<_> = Operation::ALL
            .into_iter()
            .map(|operation| {
                let method = operation.entry().method.parse().expect("a method");
                (method, operation.path("123-1234567-1234567"))
            })
            .collect();
        expected.sort_by_key(|(method, path): &(Method, String)| (path.clone(), method.to_string()));
        if !offered.is_empty() {
            assert_eq!(taken, expected.iter().collect::<Vec<_>>());
            let foreign =
                ["/products/pricing/", "/finances/", "/products/fees/", "/batches/products/pricing/"];
            for prefix in foreign {
                assert!(
                    offered.iter().any(|(_, path)| path.starts_with(prefix)),
                    "{prefix} is to be refused"
                );
            }
        }
    }
}
