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
}
