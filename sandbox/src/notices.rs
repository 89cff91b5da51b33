//! The messages that subscribers receive, in Amazon's shapes: about orders in one spelling, about reports in another.
//!
//! A message about an order carries the buyer's postcode, whatever anybody asked for. A careless Amazon adds the buyer.

use crate::notifications::NotificationType;
use crate::orders::{FulfilledBy, FulfillmentStatus, Order};
use crate::planted;
use crate::reports::{Outcome, Report};
use crate::state::State;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

const APPLICATION_ID: &str = "amzn1.sellerapps.app.sandbox";
const CHANGE: &str = "OrderStatusChange";

impl State {
    /// Tells whoever subscribed that an order changed.
    pub(crate) fn tell_of_order(&mut self, order_id: &str, now: DateTime<Utc>) {
        let Some(order) = self.orders.get(order_id) else { return };
        let about = NotificationType::OrderChange;
        let Some((subscription, arn)) = self.subscriptions.of(&order.seller, about) else { return };
        if subscription.wants(order.marketplace.id, CHANGE) {
            let mut notice = order_notice(order, &subscription.id, now);
            if self.leak_buyer_data {
                let told = &mut notice["Payload"]["OrderChangeNotification"];
                told["Buyer"] = json!({"BuyerName": planted::BUYER_NAME, "BuyerEmail": planted::BUYER_EMAIL});
                told["Summary"]["ShippingAddress"] = json!({
                    "Name": planted::RECIPIENT_NAME,
                    "AddressLine1": planted::ADDRESS_LINE,
                    "City": planted::CITY,
                    "Phone": planted::PHONE,
                });
            }
            self.queues.send(arn, &notice.to_string(), now);
        }
    }

    /// Tells whoever subscribed that a report ended.
    pub(crate) fn tell_of_report(&mut self, report: &Report, now: DateTime<Utc>) {
        let Some(outcome) = &report.outcome else { return };
        let about = NotificationType::ReportProcessingFinished;
        let Some((subscription, arn)) = self.subscriptions.of(&report.seller, about) else { return };
        let notice = report_notice(report, outcome, &subscription.id, now);
        self.queues.send(arn, &notice.to_string(), now);
    }
}

fn order_notice(order: &Order, subscription_id: &str, now: DateTime<Utc>) -> Value {
    let about = NotificationType::OrderChange;
    json!({
        "NotificationVersion": "1.0",
        "NotificationType": about.name(),
        "PayloadVersion": about.payload_version(),
        "EventTime": moment(order.last_updated_at),
        "Payload": {
            "OrderChangeNotification": {
                "NotificationLevel": "OrderLevel",
                "SellerId": order.seller,
                "AmazonOrderId": order.order_id,
                "OrderChangeType": CHANGE,
                "OrderChangeTrigger": {
                    "TimeOfOrderChange": moment(order.last_updated_at),
                    "ChangeReason": "Order Status Change",
                },
                "Summary": summary_document(order),
            },
        },
        "NotificationMetadata": {
            "ApplicationId": APPLICATION_ID,
            "SubscriptionId": subscription_id,
            "PublishTime": moment(now),
            "NotificationId": Uuid::new_v4().to_string(),
        },
    })
}

fn summary_document(order: &Order) -> Value {
    let shipped = order.status == FulfillmentStatus::Shipped;
    let lines = || order.items.iter().enumerate();
    let is_shipped =
        |line: usize| shipped || (order.status == FulfillmentStatus::PartiallyShipped && line == 0);
    let units = |wanted: bool| -> u32 {
        lines().filter(|(line, _)| is_shipped(*line) == wanted).map(|(_, item)| item.quantity).sum()
    };
    let items: Vec<Value> = lines()
        .map(|(line, item)| {
            json!({
                "OrderItemId": item.order_item_id,
                "SellerSKU": item.seller_sku,
                "SupplySourceId": null,
                "OrderItemStatus": if is_shipped(line) { "Shipped" } else { "Unshipped" },
                "Quantity": item.quantity,
                "QuantityShipped": if is_shipped(line) { item.quantity } else { 0 },
            })
        })
        .collect();
    let by_seller = order.fulfilled_by == FulfilledBy::Merchant;
    let mut summary = json!({
        "MarketplaceId": order.marketplace.id,
        "OrderStatus": status(order.status),
        "PurchaseDate": moment(order.created_at),
        "DestinationPostalCode": planted::POSTCODE,
        "FulfillmentType": if by_seller { "MFN" } else { "AFN" },
        "OrderType": "StandardOrder",
        "NumberOfItemsShipped": units(true),
        "NumberOfItemsUnshipped": units(false),
        "EarliestShipDate": moment(order.ship_by.earliest),
        "LatestShipDate": moment(order.ship_by.latest),
        "OrderPrograms": [],
        "ShippingPrograms": [],
        "OrderItems": items,
    });
    // "Returned only for seller-fulfilled orders."
    if by_seller {
        summary["EarliestDeliveryDate"] = json!(moment(order.deliver_by.earliest));
        summary["LatestDeliveryDate"] = json!(moment(order.deliver_by.latest));
    }
    summary
}

/// In this message orders are `Canceled`, with one l.
fn status(status: FulfillmentStatus) -> &'static str {
    match status {
        FulfillmentStatus::PendingAvailability => "PendingAvailability",
        FulfillmentStatus::Pending => "Pending",
        FulfillmentStatus::Unshipped => "Unshipped",
        FulfillmentStatus::PartiallyShipped => "PartiallyShipped",
        FulfillmentStatus::Shipped => "Shipped",
        FulfillmentStatus::Cancelled => "Canceled",
        FulfillmentStatus::Unfulfillable => "Unfulfillable",
    }
}

fn report_notice(report: &Report, outcome: &Outcome, subscription_id: &str, now: DateTime<Utc>) -> Value {
    let about = NotificationType::ReportProcessingFinished;
    let mut told = json!({
        "sellerId": report.seller,
        "accountId": format!("amzn1.merchant.o.{}", report.seller),
        "reportId": report.id,
        "reportType": report.report_type,
        "processingStatus": outcome.status(),
    });
    if let Some(document_id) = outcome.document_id() {
        told["reportDocumentId"] = json!(document_id);
    }
    json!({
        "notificationVersion": about.payload_version(),
        "notificationType": about.name(),
        "payloadVersion": about.payload_version(),
        "eventTime": moment(now),
        "payload": {"reportProcessingFinishedNotification": told},
        "notificationMetadata": {
            "applicationId": APPLICATION_ID,
            "subscriptionId": subscription_id,
            "publishTime": moment(now),
            "notificationId": Uuid::new_v4().to_string(),
        },
    })
}

/// With milliseconds, as in Amazon's examples.
fn moment(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Millis, true)
}
