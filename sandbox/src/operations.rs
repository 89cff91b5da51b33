//! The operations this sandbox knows, and how a request is recognised as one of them.
//!
//! Everything that is not listed here is refused, as Amazon refuses what an application has no role for. That is on purpose: a
//! client that reaches for another operation shall fail loudly, and the attempt is kept for the test to see.

use crate::sqs;
use axum::http::Method;
use serde::{Deserialize, Serialize};

/// An operation of the Selling Partner API, or of what stands beside it: sign-in, documents, queues.
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
    /// `GET /sellers/v1/marketplaceParticipations`
    GetMarketplaceParticipations,
    /// `GET /fba/inventory/v1/summaries`
    GetInventorySummaries,
    /// `GET /listings/2021-08-01/items/{sellerId}`
    SearchListingsItems,
    /// `GET /catalog/2022-04-01/items`
    SearchCatalogItems,
    /// `GET /sales/v1/orderMetrics`
    GetOrderMetrics,
    /// `POST /reports/2021-06-30/reports`
    CreateReport,
    /// `GET /reports/2021-06-30/reports/{reportId}`
    GetReport,
    /// `GET /reports/2021-06-30/documents/{reportDocumentId}`
    GetReportDocument,
    /// `GET /documents/{address}`: not Amazon's API but its store of files.
    DownloadDocument,
    /// `POST /notifications/v1/destinations`
    CreateDestination,
    /// `GET /notifications/v1/destinations`
    GetDestinations,
    /// `POST /notifications/v1/subscriptions/{notificationType}`
    CreateSubscription,
    /// `GET /notifications/v1/subscriptions/{notificationType}`
    GetSubscription,
    /// `AmazonSQS.ReceiveMessage`
    ReceiveMessage,
    /// `AmazonSQS.DeleteMessage`
    DeleteMessage,
    /// `AmazonSQS.DeleteMessageBatch`
    DeleteMessageBatch,
    /// `AmazonSQS.GetQueueAttributes`
    GetQueueAttributes,
    /// `AmazonSQS.GetQueueUrl`
    GetQueueUrl,
}

/// Who may ask for an operation, and in whose shape it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// Login with Amazon: whoever has the application's credentials.
    SignIn,
    /// The Selling Partner API, for a seller, with its access token.
    Seller,
    /// The Selling Partner API, for the application itself, with an access token for notifications.
    Application,
    /// The store of files: whoever has the address.
    Store,
    /// Message queues: whoever signs.
    Queue,
}

/// A request that the sandbox has an answer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// What is asked for.
    pub(crate) operation: Operation,
    /// The parts of the path that vary, from left to right.
    pub(crate) subject: Vec<String>,
}

/// Method and path of each operation; `{}` is a part that varies.
const ROUTES: [(&str, &str, Operation); 18] = [
    ("POST", "auth/o2/token", Operation::Token),
    ("GET", "orders/2026-01-01/orders", Operation::SearchOrders),
    ("GET", "orders/2026-01-01/orders/{}", Operation::GetOrder),
    ("GET", "solicitations/v1/orders/{}", Operation::GetSolicitationActionsForOrder),
    (
        "POST",
        "solicitations/v1/orders/{}/solicitations/productReviewAndSellerFeedback",
        Operation::CreateProductReviewAndSellerFeedbackSolicitation,
    ),
    ("GET", "sellers/v1/marketplaceParticipations", Operation::GetMarketplaceParticipations),
    ("GET", "fba/inventory/v1/summaries", Operation::GetInventorySummaries),
    ("GET", "listings/2021-08-01/items/{}", Operation::SearchListingsItems),
    ("GET", "catalog/2022-04-01/items", Operation::SearchCatalogItems),
    ("GET", "sales/v1/orderMetrics", Operation::GetOrderMetrics),
    ("POST", "reports/2021-06-30/reports", Operation::CreateReport),
    ("GET", "reports/2021-06-30/reports/{}", Operation::GetReport),
    ("GET", "reports/2021-06-30/documents/{}", Operation::GetReportDocument),
    ("GET", "documents/{}", Operation::DownloadDocument),
    ("POST", "notifications/v1/destinations", Operation::CreateDestination),
    ("GET", "notifications/v1/destinations", Operation::GetDestinations),
    ("POST", "notifications/v1/subscriptions/{}", Operation::CreateSubscription),
    ("GET", "notifications/v1/subscriptions/{}", Operation::GetSubscription),
];

impl Operation {
    /// Where it is asked for.
    pub(crate) fn counter(self) -> Counter {
        match self {
            Operation::Token => Counter::SignIn,
            Operation::DownloadDocument => Counter::Store,
            Operation::CreateDestination | Operation::GetDestinations => Counter::Application,
            Operation::ReceiveMessage
            | Operation::DeleteMessage
            | Operation::DeleteMessageBatch
            | Operation::GetQueueAttributes
            | Operation::GetQueueUrl => Counter::Queue,
            _ => Counter::Seller,
        }
    }
}

impl Request {
    /// Recognises a request by its method and path, or by the target that a queue's client names; returns `None` for everything
    /// this sandbox does not offer.
    pub(crate) fn recognise(method: &Method, path: &str, target: Option<&str>) -> Option<Request> {
        if let Some(target) = target {
            let operation = sqs::operation_of(target).filter(|_| method == Method::POST)?;
            return Some(Request { operation, subject: Vec::new() });
        }
        ROUTES.iter().filter(|(verb, _, _)| *verb == method.as_str()).find_map(|(_, pattern, operation)| {
            let subject = subject_of(pattern, path.strip_prefix('/')?)?;
            Some(Request { operation: *operation, subject })
        })
    }

    /// The part of the path that varies, where there is one.
    pub(crate) fn first_subject(&self) -> &str {
        self.subject.first().map_or("", String::as_str)
    }
}

/// What stands in a path where its pattern has `{}`, or `None` if it is another path.
fn subject_of(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut given = path.split('/');
    let mut subject = Vec::new();
    for expected in pattern.split('/') {
        let part = given.next()?;
        if expected == "{}" && !part.is_empty() {
            subject.push(part.to_owned());
        } else if expected != part {
            return None;
        }
    }
    given.next().is_none().then_some(subject)
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
        for (method, pattern, operation) in ROUTES {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let path = format!("/{}", pattern.replace("{}", id));
            let request = Request::recognise(&method, &path, None).expect("it is an operation");
            assert_eq!(request.operation, operation, "{method} {path}");
            assert_eq!(request.subject, vec![id; pattern.matches("{}").count()], "{method} {path}");
        }
    }

    #[test]
    fn nothing_else_is_an_operation() {
        for (method, path) in [
            (Method::GET, "/orders/v0/orders"),
            (Method::POST, "/orders/2026-01-01/orders"),
            (Method::GET, "/orders/2026-01-01/orders/"),
            (Method::GET, "/products/pricing/v0/price"),
            (Method::GET, "/finances/2024-06-19/transactions"),
            (Method::GET, "/auth/o2/token"),
        ] {
            assert_eq!(Request::recognise(&method, path, None), None, "{method} {path}");
        }
    }

    #[test]
    fn a_queue_is_asked_by_the_target_whatever_the_path() {
        let receive = Request::recognise(&Method::POST, "/", Some("AmazonSQS.ReceiveMessage"));
        assert_eq!(receive.map(|request| request.operation), Some(Operation::ReceiveMessage));
        assert_eq!(Request::recognise(&Method::POST, "/", Some("AmazonSQS.SendMessage")), None);
        assert_eq!(Request::recognise(&Method::GET, "/", Some("AmazonSQS.ReceiveMessage")), None);
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
