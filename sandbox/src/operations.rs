//! The operations this sandbox knows, and how a request is recognised as one of them.
//!
//! Everything that is not listed here is refused, as Amazon refuses what an application has no role for. That is on purpose: a
//! client that reaches for another operation shall fail loudly, and the attempt is kept for the test to see.

use axum::http::Method;
use serde::{Deserialize, Serialize};

/// An operation of the Selling Partner API, or the sign-in that precedes them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// `GET /orders/2026-01-01/orders`
    SearchOrders,
    /// `GET /orders/2026-01-01/orders/{orderId}`
    GetOrder,
    /// `GET /solicitations/v1/orders/{amazonOrderId}`
    GetSolicitationActionsForOrder,
    /// `POST /solicitations/v1/orders/{amazonOrderId}/solicitations/productReviewAndSellerFeedback`
    CreateProductReviewAndSellerFeedbackSolicitation,
    /// `POST /auth/o2/token`
    Token,
}

/// A request that the sandbox has an answer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Trade credentials for an access token.
    Token,
    /// Anything else: for a seller, with an access token, within a usage plan.
    Seller(SellerRequest),
}

/// A request on behalf of a seller, with the id of the order it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SellerRequest {
    /// Search the seller's orders.
    SearchOrders,
    /// Read one order.
    GetOrder(String),
    /// Ask what may be solicited for an order.
    GetSolicitationActions(String),
    /// Ask the buyer of an order for a review.
    CreateSolicitation(String),
}

impl Request {
    /// Recognises a request, or returns `None` for everything this sandbox does not offer.
    pub(crate) fn recognise(method: &Method, path: &str) -> Option<Request> {
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let request = match (method.as_str(), segments.as_slice()) {
            ("POST", ["auth", "o2", "token"]) => return Some(Request::Token),
            ("GET", ["orders", "2026-01-01", "orders"]) => SellerRequest::SearchOrders,
            ("GET", ["orders", "2026-01-01", "orders", id]) => SellerRequest::GetOrder((*id).to_owned()),
            ("GET", ["solicitations", "v1", "orders", id]) => {
                SellerRequest::GetSolicitationActions((*id).to_owned())
            }
            (
                "POST",
                ["solicitations", "v1", "orders", id, "solicitations", "productReviewAndSellerFeedback"],
            ) => SellerRequest::CreateSolicitation((*id).to_owned()),
            _ => return None,
        };
        Some(Request::Seller(request))
    }

    /// Amazon's name of the operation.
    pub(crate) fn operation(&self) -> Operation {
        match self {
            Request::Token => Operation::Token,
            Request::Seller(SellerRequest::SearchOrders) => Operation::SearchOrders,
            Request::Seller(SellerRequest::GetOrder(_)) => Operation::GetOrder,
            Request::Seller(SellerRequest::GetSolicitationActions(_)) => {
                Operation::GetSolicitationActionsForOrder
            }
            Request::Seller(SellerRequest::CreateSolicitation(_)) => {
                Operation::CreateProductReviewAndSellerFeedbackSolicitation
            }
        }
    }
}

/// Whether a path looks like one of the Selling Partner API: all of them carry a version, as `v0` or as a date.
pub(crate) fn looks_like_sp_api(path: &str) -> bool {
    path.split('/').any(|segment| {
        let numbered = segment
            .strip_prefix('v')
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
        numbered || chrono::NaiveDate::parse_from_str(segment, "%Y-%m-%d").is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_every_operation_by_method_and_path() {
        let id = "026-1234567-1234567";
        let solicitations = format!("/solicitations/v1/orders/{id}");
        let post = format!("{solicitations}/solicitations/productReviewAndSellerFeedback");
        let about = || id.to_owned();
        for (method, path, expected) in [
            (Method::GET, "/orders/2026-01-01/orders", SellerRequest::SearchOrders),
            (Method::GET, &format!("/orders/2026-01-01/orders/{id}"), SellerRequest::GetOrder(about())),
            (Method::GET, &solicitations, SellerRequest::GetSolicitationActions(about())),
            (Method::POST, &post, SellerRequest::CreateSolicitation(about())),
        ] {
            let recognised = Request::recognise(&method, path);
            assert_eq!(recognised, Some(Request::Seller(expected)), "{method} {path}");
        }
        assert_eq!(Request::recognise(&Method::POST, "/auth/o2/token"), Some(Request::Token));
    }

    #[test]
    fn nothing_else_is_an_operation() {
        for (method, path) in [
            (Method::GET, "/orders/v0/orders"),
            (Method::POST, "/orders/2026-01-01/orders"),
            (Method::GET, "/products/pricing/v0/price"),
            (Method::GET, "/finances/2024-06-19/transactions"),
            (Method::GET, "/auth/o2/token"),
        ] {
            assert_eq!(Request::recognise(&method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn versions_make_an_sp_api_path() {
        for path in
            ["/orders/v0/orders", "/batches/products/pricing/2022-05-01/items", "/fba/inventory/v1/summaries"]
        {
            assert!(looks_like_sp_api(path), "{path}");
        }
        for path in ["/", "/favicon.ico", "/video", "/v", "/2026"] {
            assert!(!looks_like_sp_api(path), "{path}");
        }
    }
}
