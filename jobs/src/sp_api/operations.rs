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

/// Amazon's default usage plan of an operation, for one application and one selling partner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UsagePlan {
    /// Calls per second in the long run.
    pub rate: f64,
    /// Calls at once from a full bucket.
    pub burst: u32,
}

/// Everything we may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Orders API 2026-01-01: a page of orders.
    SearchOrders,
    /// Solicitations API v1: what may be asked of an order's buyer now.
    GetSolicitationActions,
    /// Solicitations API v1: asks an order's buyer for a review, in Amazon's words.
    RequestReview,
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
    /// Any one of them suffices.
    pub roles: &'static [Role],
    /// Amazon's usage plan. Source: Amazon's API models, commit 34dc93fe of 2026-08-05. Moved by the rate header.
    pub plan: UsagePlan,
    /// Why we call it, for the page that says so.
    pub why: &'static str,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SearchOrders, Self::GetSolicitationActions, Self::RequestReview];

    /// Its row of the table.
    #[must_use]
    pub const fn entry(self) -> Entry {
        match self {
            Self::SearchOrders => Entry {
                name: "searchOrders",
                method: "GET",
                path: "/orders/2026-01-01/orders",
                roles: &[
                    Role::SellingPartnerInsights,
                    Role::BuyerCommunication,
                    Role::ProductListing,
                    Role::InventoryAndOrderTracking,
                ],
                plan: UsagePlan { rate: 0.0056, burst: 20 },
                why: "Order status and delivery windows, without anything about the buyer.",
            },
            Self::GetSolicitationActions => Entry {
                name: "getSolicitationActionsForOrder",
                method: "GET",
                path: "/solicitations/v1/orders/{}",
                roles: &[Role::ProductListing],
                plan: UsagePlan { rate: 1.0, burst: 5 },
                why: "Whether Amazon offers a review request for an order.",
            },
            Self::RequestReview => Entry {
                name: "createProductReviewAndSellerFeedbackSolicitation",
                method: "POST",
                path: "/solicitations/v1/orders/{}/solicitations/productReviewAndSellerFeedback",
                roles: &[Role::ProductListing],
                plan: UsagePlan { rate: 1.0, burst: 5 },
                why: "Asks the buyer of an order for a review, once, in Amazon's words.",
            },
        }
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

/// `{}` stands for one segment of letters, digits and dashes: nothing that a server could read as another path.
fn matches_template(template: &str, path: &str) -> bool {
    let mut actual = path.split('/');
    let fits = template.split('/').all(|expected| {
        actual.next().is_some_and(|segment| {
            if expected == "{}" {
                !segment.is_empty()
                    && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            } else {
                segment == expected
            }
        })
    });
    fits && actual.next().is_none()
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
            let path = entry.path.replace("{}", "123-1234567-1234567");
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
        taken.sort_by_key(|(_, path)| path.clone());
        let expected = [
            (Method::GET, "/orders/2026-01-01/orders".to_owned()),
            (Method::GET, "/solicitations/v1/orders/123-1234567-1234567".to_owned()),
            (
                Method::POST,
                "/solicitations/v1/orders/123-1234567-1234567/solicitations/productReviewAndSellerFeedback"
                    .to_owned(),
            ),
        ];
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
