//! Notices from Amazon: what may be known of one, read from the text that comes in our queue.
//!
//! A notice of an order names its buyer's postcode, and more may come one day. The types here have no field for any of it, so
//! that it ends with the text; and the text is neither stored nor shown.

use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use crate::sp_api::notifications::NoticeType;

/// A notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Amazon's id: the same notice may come twice.
    pub id: String,
    /// What it tells.
    pub tells: Tells,
}

/// What a notice tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tells {
    /// An order of a seller changed.
    OrderChanged {
        /// Amazon's id of the seller.
        selling_partner_id: String,
        /// Where it was placed, if told.
        marketplace_id: Option<String>,
    },
    /// A report of a seller is ready, or will not come.
    ReportFinished {
        /// Amazon's id of the seller; vendors have none.
        selling_partner_id: Option<String>,
    },
    /// New credentials of our application, or a word about them. Not for us, and never to be lost: they come once.
    Credentials,
    /// Something that we did not ask for.
    Other,
}

/// Why a text is not a notice. Says where, never what.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("it does not parse ({category} at byte {byte})")]
pub struct Unreadable {
    category: String,
    byte: usize,
}

impl Tells {
    /// As a metric's label.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OrderChanged { .. } => NoticeType::OrderChange.name(),
            Self::ReportFinished { .. } => NoticeType::ReportProcessingFinished.name(),
            Self::Credentials => "credentials",
            Self::Other => "other",
        }
    }
}

/// Amazon writes some types in PascalCase and others in camelCase.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "notificationType", alias = "NotificationType")]
    notice_type: String,
    #[serde(rename = "payload", alias = "Payload", borrow)]
    payload: &'a RawValue,
    #[serde(rename = "notificationMetadata", alias = "NotificationMetadata")]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "notificationId", alias = "NotificationId")]
    id: String,
}

#[derive(Deserialize)]
struct OrderPayload {
    #[serde(rename = "OrderChangeNotification", alias = "orderChangeNotification")]
    notification: OrderChange,
}

#[derive(Deserialize)]
struct OrderChange {
    #[serde(rename = "SellerId", alias = "sellerId")]
    seller_id: String,
    #[serde(rename = "Summary", alias = "summary", default)]
    summary: Option<Summary>,
}

#[derive(Deserialize)]
struct Summary {
    #[serde(rename = "MarketplaceId", alias = "marketplaceId", default)]
    marketplace_id: Option<String>,
}

#[derive(Deserialize)]
struct ReportPayload {
    #[serde(rename = "reportProcessingFinishedNotification", alias = "ReportProcessingFinishedNotification")]
    notification: ReportFinished,
}

#[derive(Deserialize)]
struct ReportFinished {
    #[serde(rename = "sellerId", alias = "SellerId", default)]
    seller_id: Option<String>,
}

/// What Amazon calls everything about our application's credentials.
const CREDENTIALS: &str = "APPLICATION_OAUTH_CLIENT";

impl Notice {
    /// Reads a notice.
    ///
    /// # Errors
    /// When it is none, or lacks what a notice of its type always has.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let envelope: Envelope<'_> = read(text)?;
        let payload = envelope.payload.get();
        let tells = match envelope.notice_type.as_str() {
            name if name == NoticeType::OrderChange.name() => {
                let OrderPayload { notification } = read(payload)?;
                let marketplace_id = notification.summary.and_then(|summary| summary.marketplace_id);
                Tells::OrderChanged { selling_partner_id: notification.seller_id, marketplace_id }
            }
            name if name == NoticeType::ReportProcessingFinished.name() => {
                let ReportPayload { notification } = read(payload)?;
                Tells::ReportFinished { selling_partner_id: notification.seller_id }
            }
            name if name.starts_with(CREDENTIALS) => Tells::Credentials,
            _ => Tells::Other,
        };
        Ok(Self { id: envelope.metadata.id, tells })
    }
}

fn read<'d, T: Deserialize<'d>>(text: &'d str) -> Result<T, Unreadable> {
    serde_json::from_str(text).map_err(|error| Unreadable {
        // The parser's own words may quote the text.
        category: format!("{:?}", error.classify()),
        byte: error.column(),
    })
}

#[cfg(test)]
pub(crate) mod samples {
    //! Notices as Amazon writes them.

    use serde_json::{Value, json};

    /// What a notice of an order says about its buyer.
    pub(crate) const POSTCODE: &str = "ZZ99 9ZZ";

    /// An order of a seller changed.
    pub(crate) fn order_change(id: &str, selling_partner_id: &str, marketplace_id: &str) -> String {
        json!({
            "NotificationVersion": "1.0", "NotificationType": "ORDER_CHANGE", "PayloadVersion": "1.0",
            "EventTime": "2026-11-24T10:09:53.109Z",
            "Payload": {"OrderChangeNotification": {
                "NotificationLevel": "OrderLevel", "SellerId": selling_partner_id, "AmazonOrderId": "026-7654321-7654321",
                "OrderChangeType": "OrderStatusChange", "BuyerName": "Planted Buyer",
                "Summary": {"MarketplaceId": marketplace_id, "OrderStatus": "Shipped", "DestinationPostalCode": POSTCODE}
            }},
            "NotificationMetadata": {"ApplicationId": "app", "SubscriptionId": "s", "PublishTime": "2026-11-24T10:09:54Z", "NotificationId": id}
        })
        .to_string()
    }

    /// A notice in camel case.
    pub(crate) fn camel_case(id: &str, notice_type: &str, payload: Value) -> String {
        json!({
            "notificationVersion": "2020-09-04", "notificationType": notice_type, "payloadVersion": "2020-09-04",
            "eventTime": "2026-11-24T10:35:13.214Z", "payload": payload,
            "notificationMetadata": {"applicationId": "app", "subscriptionId": "s", "publishTime": "2026-11-24T10:35:14Z", "notificationId": id}
        })
        .to_string()
    }

    /// A report of a seller is finished.
    pub(crate) fn report_finished(id: &str, selling_partner_id: &str) -> String {
        let report = json!({"reportProcessingFinishedNotification": {
            "sellerId": selling_partner_id, "accountId": "amzn1.merchant.o.X", "reportId": "54517018502",
            "reportType": "GET_SELLER_FEEDBACK_DATA", "processingStatus": "DONE", "reportDocumentId": "amzn1.tortuga.3.x"
        }});
        camel_case(id, "REPORT_PROCESSING_FINISHED", report)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        samples::{POSTCODE, camel_case, order_change, report_finished},
        *,
    };

    #[test]
    fn notices_are_read_in_both_cases_without_the_buyer() {
        let order = Notice::parse(&order_change("n-1", "A2SELLER", "A1F83G8C2ARO7P")).expect("a notice");
        let tells = Tells::OrderChanged {
            selling_partner_id: "A2SELLER".to_owned(),
            marketplace_id: Some("A1F83G8C2ARO7P".to_owned()),
        };
        assert_eq!(order, Notice { id: "n-1".to_owned(), tells });
        let seen = format!("{order:?}");
        assert!(!seen.contains(POSTCODE) && !seen.contains("026-") && !seen.contains("Buyer"), "{seen}");

        let report = Notice::parse(&report_finished("n-2", "A2SELLER")).expect("a notice");
        let tells = Tells::ReportFinished { selling_partner_id: Some("A2SELLER".to_owned()) };
        assert_eq!(report, Notice { id: "n-2".to_owned(), tells });
    }

    #[test]
    fn what_was_not_asked_for_is_known_by_its_id_alone() {
        let tells = |notice_type: &str| {
            Notice::parse(&camel_case("n-3", notice_type, json!({"x": 1}))).expect("a notice").tells
        };
        assert_eq!(tells("FEED_PROCESSING_FINISHED"), Tells::Other);
        assert_eq!(tells("ANY_OFFER_CHANGED"), Tells::Other);
        assert_eq!(tells("APPLICATION_OAUTH_CLIENT_NEW_SECRET"), Tells::Credentials);
        assert_eq!(tells("APPLICATION_OAUTH_CLIENT_SECRET_EXPIRY"), Tells::Credentials);
    }

    #[test]
    fn what_does_not_parse_says_where_and_never_what() {
        let cut = &order_change("n-1", "A2SELLER", "A1F83G8C2ARO7P")[..200];
        let nameless =
            camel_case("n-4", "ORDER_CHANGE", json!({"OrderChangeNotification": {"SellerId": ["Planted"]}}));
        for text in ["", "<html>Planted</html>", cut, &nameless, r#"{"notificationType":"Planted"}"#] {
            let error = Notice::parse(text).expect_err("it is none").to_string();
            assert!(error.contains("does not parse") && !error.contains("Planted"), "{error}");
        }
    }
}
